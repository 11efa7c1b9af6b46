"""Layouts found by attention: planted answers, what the first steps see, and every mistake in one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from dynaip import Reference
from dynaip.adapter.layout import AutoLayout, LayoutFinder, assigned
from dynaip.errors import InputError
from tests.waiting import Waits

Make = Callable[..., Any]


def picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (32, 32, 3), dtype=np.uint8))


def words_of(pipe: Any) -> list[str]:
    """Words that the tiny pipeline's text encoder knows, one token each."""
    return sorted(word for word in pipe.tokenizer_2.get_vocab() if word.isalpha())[:4]


def paint(pipe: Any, prompts: Any, **options: Any) -> Tensor:
    pipe.set_progress_bar_config(disable=True)
    options = {"num_inference_steps": 8, "max_sequence_length": 24, "output_type": "latent", **options}
    return pipe(prompts, generator=torch.Generator().manual_seed(1), **options).images


def plant(pipe: Any, halves: Callable[[int], Tensor], places: tuple[int, int]) -> list[Any]:
    """Make image queries and text keys agree: the first subject on the tokens of ``halves``, the second on the others."""
    one, other = torch.eye(32)[0] * 9, torch.eye(32)[1] * 9
    handles: list[Any] = []
    for block in pipe.transformer.transformer_blocks:

        def queries(module: Any, args: Any, output: Tensor) -> Tensor:
            first = halves(output.shape[1])[None, :, None, None]
            return torch.where(first, one, other).expand(output.shape).contiguous()

        def keys(module: Any, args: Any, output: Tensor) -> Tensor:
            made = torch.zeros_like(output)
            made[:, places[0]], made[:, places[1]] = one, other
            return made

        handles += [
            block.attn.norm_q.register_forward_hook(queries),
            block.attn.norm_added_k.register_forward_hook(keys),
        ]
    return handles


def left(tokens: int) -> Tensor:
    return torch.arange(tokens) % 8 < 4


def test_planted_attention_gives_the_planted_layout(adapter: Make, tiny_flux: Any) -> None:
    words = words_of(tiny_flux)
    prompt = " ".join(words)
    ids = tiny_flux.tokenizer_2(prompt).input_ids
    places = tuple(ids.index(tiny_flux.tokenizer_2(word, add_special_tokens=False).input_ids[0]) for word in words[2:])
    handles = plant(tiny_flux, left, (places[0], places[1]))
    dyna = adapter()
    with dyna.references(Reference(picture(1)), Reference(picture(2)), layout="auto", subjects=words[2:]):
        paint(tiny_flux, prompt)
    found = dyna.layout
    assert found.regions.shape == (1, 2, 8, 8)
    assert torch.equal(found.mask(0), left(64).view(8, 8).float())
    assert torch.equal(found.mask(1), 1 - found.mask(0))
    seen = np.asarray(found.picture(cell=2))
    assert (
        (seen[:, :8] == seen[0, 0]).all() and (seen[:, 8:] == seen[0, 15]).all() and (seen[0, 0] != seen[0, 15]).any()
    )
    with dyna.references(
        Reference(picture(1)), Reference(picture(2)), layout="auto", subjects=[[places[1]], [places[0]]]
    ):
        paint(tiny_flux, prompt)
    assert torch.equal(dyna.layout.mask(1), found.mask(0))
    for handle in handles:
        handle.remove()


def test_maps_are_the_mean_over_heads_blocks_and_the_steps_that_are_looked_at(adapter: Make, tiny_flux: Any) -> None:
    """By the softmax over text of what the norms gave, block by block and step by step."""
    words = words_of(tiny_flux)
    prompt = " ".join(words)
    ids = tiny_flux.tokenizer_2(prompt).input_ids
    places = [ids.index(tiny_flux.tokenizer_2(word, add_special_tokens=False).input_ids[0]) for word in words[:2]]
    blocks, held = tiny_flux.transformer.transformer_blocks, {"norm_q": [], "norm_added_k": []}
    handles = [
        getattr(block.attn, name).register_forward_hook(lambda module, args, output, own=own: own.append(output))
        for block in blocks
        for name, own in held.items()
    ]
    dyna = adapter()
    with dyna.references(Reference(picture(1)), Reference(picture(2)), layout=AutoLayout(steps=2), subjects=words[:2]):
        paint(tiny_flux, prompt)
    for handle in handles:
        handle.remove()
    assert len(held["norm_q"]) == 8 * len(blocks) and len(blocks) > 1
    wanted = torch.zeros(2, 64)
    for query, key in list(zip(*held.values(), strict=True))[: 2 * len(blocks)]:
        scores = torch.einsum("bqhd,bkhd->bhqk", query, key) / query.shape[-1] ** 0.5
        wanted += scores.softmax(-1).mean(1)[0][:, places].T / (2 * len(blocks))
    torch.testing.assert_close(dyna.layout.attention[0], wanted.view(2, 8, 8), atol=1e-6, rtol=1e-5)


def test_it_is_the_same_as_giving_the_regions_after_the_first_steps(adapter: Make, tiny_flux: Any) -> None:
    """The steps that are looked at see no reference; the others see each in its own region. Nothing stays behind."""
    words = words_of(tiny_flux)
    prompt = " ".join(words)
    bare = paint(tiny_flux, prompt)
    dyna = adapter()
    one, other = Reference(picture(1)), Reference(picture(2))
    with dyna.references(one, other, layout=AutoLayout(steps=9), subjects=words[:2]):
        found = paint(tiny_flux, prompt)
        again = paint(tiny_flux, prompt)
    assert torch.equal(found, again)
    layout, times = dyna.layout, tiny_flux.scheduler.timesteps
    start = 1 - float(times[2]) / 1000

    def late(branch: str, block: int, progress: float) -> float:
        return float(progress > start - 1e-3)

    placed = [Reference(picture(number + 1), region=layout.mask(number)) for number in (0, 1)]
    with dyna.references(*placed), dyna.intervene(late):
        torch.testing.assert_close(paint(tiny_flux, prompt), found, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(found, bare, atol=1e-3)
    dyna.detach()
    assert torch.equal(paint(tiny_flux, prompt), bare)
    assert not [m for m in tiny_flux.text_encoder_2.modules() if m._forward_pre_hooks]
    assert not [m for m in tiny_flux.transformer.modules() if m._forward_hooks]


def test_each_image_has_a_layout_of_its_own(adapter: Make, tiny_flux: Any) -> None:
    """Also under guidance, whose negative prompt is encoded too and whose pass is not looked at."""
    words = words_of(tiny_flux)
    dyna = adapter()
    prompts = [" ".join(words), " ".join(reversed(words))]
    lists = [[Reference(picture(1))], [Reference(picture(2)), Reference(picture(3))]]
    with dyna.references(*lists, layout="auto", subjects=[words[:1], words[1:3]]):
        with pytest.raises(InputError, match="one number of references"):
            paint(tiny_flux, prompts)
    pairs = [[Reference(picture(1)), Reference(picture(4))], [Reference(picture(2)), Reference(picture(3))]]
    options = {"num_images_per_prompt": 2, "true_cfg_scale": 2.0, "negative_prompt": ["", ""]}
    with dyna.references(*pairs, layout="auto", subjects=[words[:2], words[1:3]]):
        paint(tiny_flux, prompts, **options)
    assert dyna.layout.regions.shape == (4, 2, 8, 8)
    assert (dyna.layout.attention[0] != dyna.layout.attention[1]).any()


def test_regions_from_maps() -> None:
    """The largest map wins, weak places are background, and no subject is left without a place."""
    maps = torch.zeros(3, 9, 9)
    maps[0, :3, :3], maps[1, 6:, 6:], maps[2] = 1.0, 0.5, 0.2
    maps[2, 4, 4] = 0.21
    regions = assigned(maps, 0.4)
    assert regions[0, :3, :3].all() and not regions[0, 4:].any()
    assert regions[1, 6:, 6:].all() and not regions[1, :4].any()
    assert regions[2, 4, 4] and regions.sum(0).max() == 1 and regions.sum(0).min() == 0
    alike = assigned(torch.stack([maps[0], maps[0]]), 0.4)
    assert alike[1].sum() == 1


def test_wrong_uses_are_one_line(adapter: Make, tiny_flux: Any) -> None:
    dyna = adapter()
    words, one = words_of(tiny_flux), Reference(picture(1))
    uses: list[tuple[dict[str, Any], str]] = [
        ({"layout": "auto"}, "name the word of each reference"),
        ({"layout": "auto", "subjects": words[:2]}, "1 references, but subjects for 2"),
        ({"layout": "grid", "subjects": words[:1]}, "'grid' must be \"auto\""),
        ({"subjects": words[:1]}, "add layout"),
    ]
    for options, line in uses:
        with pytest.raises(InputError, match=line), dyna.references(one, **options):
            pass
    with pytest.raises(InputError, match="threshold within 0 and 1"):
        AutoLayout(threshold=2)
    with dyna.references(one, layout="auto", subjects=[words[0]]):
        with pytest.raises(InputError, match=f"the prompt has no {words[0]}"):
            paint(tiny_flux, words[1])
        cached = tiny_flux.encode_prompt(words[1], None, max_sequence_length=24)
    with (
        dyna.references(one, layout="auto", subjects=[words[0]]),
        pytest.raises(InputError, match="no prompt was encoded"),
    ):
        paint(tiny_flux, None, prompt_embeds=cached[0], pooled_prompt_embeds=cached[1])
    with dyna.references(one, layout="auto", subjects=[[2]]):
        paint(tiny_flux, None, prompt_embeds=cached[0], pooled_prompt_embeds=cached[1])
    assert dyna.layout.regions.any()


def test_looking_waits_for_no_device() -> None:
    """Where the subjects' tokens are is sent to the device once a generation, and nothing waits for it."""
    finder = LayoutFinder(AutoLayout(), [[[1], [2, 3]]], [], (None, None, 0), lambda: 4)
    shares = torch.empty(1, 6, 5, device="meta")
    with Waits() as waits:
        first = finder._places_on(1, shares)
        assert finder._places_on(1, shares) is first
    assert waits.seen == []
    assert [[each.shape[0] for each in sample] for sample in first] == [[1, 2]]
    finder.restart()
    assert finder._places_on(1, torch.empty(1, 6, 5))[0][1].tolist() == [2, 3]
