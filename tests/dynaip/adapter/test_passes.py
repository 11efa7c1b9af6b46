"""Classifier-free guidance: the negative pass sees no reference, whether the pipeline names its passes or not."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import diffusers
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from dynaip import Reference
from dynaip.adapter.passes import PassMarks
from dynaip.errors import InputError

Make = Callable[..., Any]
PROMPT, NEGATIVE = "a small star at the left, on sea", "a large mug"
REFERENCE = Image.linear_gradient("L").convert("RGB")


def options(kind: str) -> dict[str, Any]:
    picture = Image.radial_gradient("L").convert("RGB").resize((64, 64))
    common: dict[str, Any] = {"height": 64, "width": 64, "max_sequence_length": 24, "output_type": "latent"}
    own: dict[str, dict[str, Any]] = {
        "FluxPipeline": {"num_inference_steps": 2},
        "FluxImg2ImgPipeline": {"image": picture, "strength": 1.0, "num_inference_steps": 2},
        "FluxInpaintPipeline": {
            "image": picture,
            "mask_image": Image.new("L", (64, 64), 255),
            "strength": 1.0,
            "num_inference_steps": 2,
        },
        "FluxKontextPipeline": {"image": picture, "num_inference_steps": 2, "_auto_resize": False, "max_area": 64 * 64},
    }
    return common | own[kind]


def record(pipe: Any, **extra: Any) -> list[tuple[dict[str, Any], Tensor]]:
    """Run a pipeline and keep every call of its transformer, with what came out."""
    calls: list[tuple[dict[str, Any], Tensor]] = []
    handle = pipe.transformer.register_forward_hook(
        lambda module, args, kwargs, output: calls.append((dict(kwargs), output[0].clone())), with_kwargs=True
    )
    pipe.set_progress_bar_config(disable=True)
    pipe(prompt=PROMPT, generator=torch.Generator().manual_seed(3), **options(type(pipe).__name__), **extra)
    handle.remove()
    return calls


@pytest.mark.parametrize("kind", ["FluxPipeline", "FluxImg2ImgPipeline", "FluxInpaintPipeline", "FluxKontextPipeline"])
def test_only_the_positive_pass_sees_the_reference(adapter: Make, tiny_flux: Any, kind: str) -> None:
    """Every call of a guided run is made once more by hand, with the reference or without it."""
    dyna = adapter()
    parts = {
        name: part for name, part in tiny_flux.components.items() if name not in ("image_encoder", "feature_extractor")
    }
    pipe = getattr(diffusers, kind)(**parts)
    reference = Reference(REFERENCE)
    with dyna.references(reference):
        guided = record(pipe, true_cfg_scale=3.0, negative_prompt=NEGATIVE)
    assert len(guided) == 4
    for number, (given, output) in enumerate(guided):
        positive = number % 2 == 0
        with torch.no_grad(), dyna.references(*([reference] if positive else [])):
            alone = tiny_flux.transformer(**given)[0]
        torch.testing.assert_close(output, alone, atol=1e-6, rtol=1e-5)
        with torch.no_grad(), dyna.references(*([] if positive else [reference])):
            other = tiny_flux.transformer(**given)[0]
        assert not torch.allclose(output, other, atol=1e-4)


def test_unmarked_passes_without_guidance_are_all_positive(adapter: Make, tiny_flux: Any) -> None:
    dyna = adapter()
    parts = {
        name: part for name, part in tiny_flux.components.items() if name not in ("image_encoder", "feature_extractor")
    }
    pipe = diffusers.FluxImg2ImgPipeline(**parts)
    bare = record(pipe)
    with dyna.references(Reference(REFERENCE)):
        for _ in range(2):
            given = record(pipe)
            assert len(given) == 2
            assert not any(torch.allclose(one[1], other[1]) for one, other in zip(given, bare, strict=True))


class Marked(nn.Module):
    """A model with diffusers' own kind of mark."""

    seen: list[str]

    @contextmanager
    def cache_context(self, name: str) -> Any:
        self.seen = [*getattr(self, "seen", []), name]
        yield


def test_marks_listen_and_go_without_a_trace() -> None:
    model = Marked()
    marks = PassMarks(model)
    latents = torch.zeros(1)
    kwargs = {"hidden_states": latents, "encoder_hidden_states": torch.zeros(1)}
    with model.cache_context("cond"):
        assert marks.read((), kwargs) == "cond"
        with model.cache_context("uncond"):
            assert marks.read((), kwargs) == "uncond"
        assert marks.read((), kwargs) == "cond"
    with pytest.raises(RuntimeError), model.cache_context("uncond"):
        raise RuntimeError
    assert marks.read((), kwargs) is None
    assert model.seen == ["cond", "uncond", "uncond"]
    marks.remove(model)
    assert "cache_context" not in vars(model)


def test_somebody_elses_shadow_comes_back() -> None:
    model = Marked()
    entered: list[str] = []

    @contextmanager
    def theirs(name: str) -> Any:
        entered.append(name)
        yield

    vars(model)["cache_context"] = theirs
    marks = PassMarks(model)
    with model.cache_context("cond"):
        assert marks.name == "cond"
    marks.remove(model)
    assert entered == ["cond"]
    assert vars(model)["cache_context"] is theirs


def test_second_text_on_the_same_latents_is_the_negative_pass() -> None:
    marks = PassMarks(nn.Module())
    first, second, positive, negative = (torch.zeros(1) for _ in range(4))
    names = [
        marks.read((), {"hidden_states": latents, "encoder_hidden_states": text})
        for latents in (first, second)
        for text in (positive, negative)
    ]
    assert names == [None, "uncond", None, "uncond"]
    assert marks.read((), {"hidden_states": second, "encoder_hidden_states": positive}) is None


@pytest.mark.parametrize(
    ("name", "negative"),
    [("cond", False), ("uncond", True), ("pred_cond", False), ("pred_uncond", True), ("pred_cond_skip", False),
     ("uncond_stg", True), ("negative", True), ("second", False)],
)  # fmt: skip
def test_names_of_passes(name: str, negative: bool) -> None:
    model = Marked()
    marks = PassMarks(model)
    with model.cache_context(name):
        assert (marks.read((), {}) == "uncond") is negative


def test_a_name_for_both_passes_is_one_line() -> None:
    model = Marked()
    marks = PassMarks(model)
    with model.cache_context("cond_uncond"), pytest.raises(InputError, match="both prompts in one batch"):
        marks.read((), {})
