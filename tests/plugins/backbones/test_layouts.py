"""Layouts found by attention in every family: the planted words are found where the text stream holds them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from dynaip import Reference
from dynaip.adapter.layout import text_keys
from tests import tiny_models


def picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (32, 32, 3), dtype=np.uint8))


@pytest.mark.parametrize("name", list(tiny_models.FAMILIES))
def test_the_words_are_found_in_the_stream(name: str, fresh: Callable[..., Any], attached: Callable[..., Any]) -> None:
    """Text keys are marked by the tokens that the encoder was given: only the word's own tokens draw attention."""
    # FLUX.2 dev has a long instruction before the prompt.
    backbone, pipe = fresh(name, max_sequence_length=128)
    dyna = attached(backbone, pipe)
    tokenizer, encoder, start = backbone.text_stream(pipe)
    prompt, word = "a small star on sea", "star"
    marked = tokenizer(word, add_special_tokens=False).input_ids[0]
    seen: list[Tensor] = []
    places: list[Tensor] = []

    def hear(module: Any, args: Any, kwargs: Any) -> None:
        ids = kwargs.get("input_ids", args[0] if args else None)
        if not seen:
            seen.append(ids)
            places.append((ids[0] == marked).nonzero().flatten() + start)

    def mark(module: Any, args: Any, output: Tensor) -> Tensor:
        """Keys of zeros, but for the word's: so large that its sign decides the softmax."""
        made = torch.zeros_like(output)
        site = next(one for one in sites if text_keys(one) is module)
        tokens = 1 if made.ndim == 3 or site.query_layout == "BTHd" else 2
        made.index_fill_(tokens, places[0], 30.0)
        return made

    def ask(module: Any, args: Any, output: Tensor) -> Tensor:
        return torch.ones_like(output)

    sites = [one for one in backbone.blocks(pipe.transformer) if one.kind == "double"]
    handles = [encoder.register_forward_pre_hook(hear, with_kwargs=True)]
    handles += [text_keys(one).register_forward_hook(mark) for one in sites]
    handles += [one.queries["image"].register_forward_hook(ask) for one in sites]
    with dyna.references(Reference(picture(1)), layout="auto", subjects=[word]):
        backbone.generate(pipe, [prompt], seeds=[0], size=None, num_inference_steps=4, output_type="latent")
    for handle in handles:
        handle.remove()
    assert len(places[0]) == 1
    found = dyna.layout.attention
    assert found.shape[:2] == (1, 1)
    assert (found > 0.99).all()
