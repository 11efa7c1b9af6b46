"""How long a prompt may be, family by family. The truth is the encoder itself: a word that is cut changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from dynaip.contracts import Backbone
from tests.plugins.backbones.conftest import LENGTH

CUT: dict[str, dict[str, int]] = {
    "flux": {"CLIP": 77, "T5": LENGTH},
    "sd3": {"CLIP": 77, "T5": LENGTH},
    "qwen_image": {"the language model": LENGTH},
    "flux2-klein": {"the language model": 96},
    "flux2": {"the language model": 96},
}


def embeds(backbone: Backbone, pipe: Any, prompt: str) -> list[torch.Tensor]:
    return list(backbone.encode_prompts(pipe, [prompt]).values())


@pytest.mark.parametrize("name", CUT)
def test_limits_are_those_of_the_encoders(name: str, fresh: Callable[..., tuple[Backbone, Any]]) -> None:
    backbone, pipe = fresh(name, max_sequence_length=CUT[name].get("the language model", LENGTH))
    limits: Any = backbone.prompt_limits(pipe)
    assert {limit.encoder: limit.longest for limit in limits} == CUT[name]

    def longest_words(limit: Any) -> int:
        return max(n for n in range(1, limit.longest + 1) if limit.count(" ".join(["star"] * n)) <= limit.longest)

    last = max(longest_words(limit) for limit in limits)
    same = " ".join(["star"] * (last - 1))
    read = (embeds(backbone, pipe, f"{same} {word}") for word in ("star", "mug"))
    assert any(not torch.equal(one, other) for one, other in zip(*read, strict=True)), "the last word is read"
    # Nobody reads what stands far behind: a template may add a few tokens after the prompt.
    long = " ".join(["star"] * (last + 10))
    beyond = (embeds(backbone, pipe, f"{long} {word}") for word in ("star", "mug"))
    assert all(torch.equal(one, other) for one, other in zip(*beyond, strict=True))
    assert all(limit.count(long) > limit.longest for limit in limits)


def test_the_options_of_a_call_go_before_the_config(fresh: Callable[..., tuple[Backbone, Any]]) -> None:
    backbone, pipe = fresh("qwen_image")
    (limit,) = backbone.prompt_limits(pipe, 12)
    assert limit.longest == 12
    # The instruction in front is no part of the prompt, and one word more is one token more.
    assert limit.count("star star") - limit.count("star") == 1
