"""Every pipeline, unmodified: off is the base, guidance sees references in its positive pass alone, batches do not mix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from dynaip import Reference
from dynaip.contracts import Backbone
from dynaip_plugins.backbones.clock import HostClock
from tests.tiny_models import spread

Load = Callable[[str], tuple[Backbone, Any]]
Make = Callable[..., Any]
HEIGHT, WIDTH, STEPS = 32, 48, 2
PROMPTS = ["a small star at left on sea", "a large mug on snow"]
TRUE = {"true_cfg_scale": 3.0, "negative_prompt": "a corgi"}
SCALE = {"guidance_scale": 3.0, "negative_prompt": "a corgi"}
SKIPPED = ("image_encoder", "feature_extractor")


def noise(seed: int, mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def half_mask() -> Image.Image:
    mask = Image.new("L", (WIDTH, HEIGHT), 0)
    mask.paste(255, (0, 0, WIDTH // 2, HEIGHT))
    return mask


IMAGE: dict[str, Any] = {"image": noise(1), "strength": 1.0}
INPAINT = IMAGE | {"mask_image": half_mask()}
CONTROL: dict[str, Any] = {"control_image": noise(2), "controlnet_conditioning_scale": 0.7}


@dataclass(frozen=True)
class Case:
    """A pipeline on one of the tiny models."""

    model: str
    kind: str
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    guidance: dict[str, Any] = field(default_factory=dict[str, Any])
    off: dict[str, Any] = field(default_factory=dict[str, Any])
    """Options without which the pipeline guides by itself."""


NO = {"guidance_scale": 1.0}
CONTROLS: dict[str, tuple[Any, dict[str, int]]] = {
    "sd3.5-large": (diffusers.SD3ControlNetModel, {"num_extra_conditioning_channels": 0}),
    "flux": (
        diffusers.FluxControlNetModel,
        {"num_single_layers": 0, "attention_head_dim": 16, "num_attention_heads": 2},
    ),
}
CASES = {
    case.kind: case
    for case in (
        Case("flux", "FluxPipeline", guidance=TRUE),
        Case("flux", "FluxImg2ImgPipeline", IMAGE, TRUE),
        Case("flux", "FluxInpaintPipeline", INPAINT, TRUE),
        Case("flux", "FluxControlNetPipeline", CONTROL, TRUE),
        Case(
            "flux", "FluxKontextPipeline", {"image": noise(3), "_auto_resize": False, "max_area": HEIGHT * WIDTH}, TRUE
        ),
        Case("flux", "FluxFillPipeline", {"image": noise(4), "mask_image": half_mask()}),
        Case("sd3.5-medium", "StableDiffusion3Pipeline", guidance=SCALE, off=NO),
        Case("sd3", "StableDiffusion3Img2ImgPipeline", IMAGE, SCALE, NO),
        Case("sd3.5-large", "StableDiffusion3InpaintPipeline", INPAINT, SCALE, NO),
        Case("sd3.5-large", "StableDiffusion3ControlNetPipeline", CONTROL, SCALE, NO),
        Case("qwen_image", "QwenImagePipeline", guidance=TRUE),
        Case("qwen_image", "QwenImageImg2ImgPipeline", IMAGE, TRUE),
        Case("qwen_image", "QwenImageInpaintPipeline", INPAINT, TRUE),
        Case("flux2", "Flux2Pipeline", {"image": noise(5).resize((64, 64))}),
        Case("flux2-klein", "Flux2KleinPipeline", {"image": noise(6).resize((64, 64))}, {"guidance_scale": 3.0}, NO),
    )
}
every = pytest.mark.parametrize("kind", list(CASES))


@pytest.fixture
def pipeline(loaded: Load) -> Callable[[str], tuple[Backbone, Any]]:
    """A pipeline of a case, on the parts of the one that was loaded."""

    def make(kind: str) -> tuple[Backbone, Any]:
        backbone, base = loaded(CASES[kind].model)
        parts = {name: part for name, part in base.components.items() if name not in SKIPPED}
        if type(base).__name__ == kind:
            return backbone, base
        torch.manual_seed(3)
        if "ControlNet" in kind:
            net, settings = CONTROLS[CASES[kind].model]
            parts["controlnet"] = net.from_transformer(base.transformer, num_layers=1, **settings).eval()
            spread(parts["controlnet"])
        if kind == "FluxFillPipeline":
            channels = dict(base.transformer.config) | {"in_channels": 96, "out_channels": 16}
            parts["transformer"] = diffusers.FluxTransformer2DModel.from_config(channels).eval()
            spread(parts["transformer"])
        made = getattr(diffusers, kind)(**parts)
        made.set_progress_bar_config(disable=True)
        return backbone, made

    return make


def run(pipe: Any, prompts: Any = PROMPTS[0], seeds: tuple[int, ...] = (1,), **options: Any) -> Tensor:
    """Latents of a run that is not square, without guidance unless asked."""
    case = CASES[type(pipe).__name__]
    torch.manual_seed(0)  # SD3's ControlNet pipeline encodes its image without the generator
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    common: dict[str, Any] = {
        "height": HEIGHT, "width": WIDTH, "num_inference_steps": STEPS, "max_sequence_length": 16, "output_type": "latent",
        "generator": generators if len(seeds) > 1 else generators[0],
    }  # fmt: skip
    return pipe(prompt=prompts, **common | case.options | case.off | options).images


def calls_of(pipe: Any, **options: Any) -> list[tuple[dict[str, Any], Tensor]]:
    calls: list[tuple[dict[str, Any], Tensor]] = []
    handle = pipe.transformer.register_forward_hook(
        lambda module, args, kwargs, output: calls.append((dict(kwargs), output[0].clone())), with_kwargs=True
    )
    run(pipe, **options)
    handle.remove()
    return calls


def rows(given: Any, count: int, start: int, end: int) -> Any:
    """The part of a call's arguments that belongs to some of its ``count`` rows."""
    if isinstance(given, dict):
        return {name: rows(value, count, start, end) for name, value in given.items()}
    if isinstance(given, list) and given and isinstance(given[0], Tensor):
        return [rows(value, count, start, end) for value in given]
    if isinstance(given, list) and given:  # the shapes of Qwen-Image: all alike
        return given[:1] * (end - start)
    return given[start:end] if isinstance(given, Tensor) and len(given) == count else given


def alone(pipe: Any, dyna: Any, given: dict[str, Any], *references: Any) -> Tensor:
    """One call of the transformer once more, by hand."""
    with torch.no_grad(), dyna.references(*references):
        return pipe.transformer(**given)[0]


@every
def test_off_is_the_base_and_detached_is_the_base(pipeline: Make, attached: Make, kind: str) -> None:
    backbone, pipe = pipeline(kind)
    guided = CASES[kind].guidance
    base, base_guided = run(pipe), run(pipe, **guided)
    dyna = attached(backbone, pipe)
    assert torch.equal(run(pipe), base)
    with dyna.references(Reference(noise(7))):
        assert not torch.allclose(run(pipe), base, atol=1e-3)
        assert not torch.allclose(run(pipe, **guided), base_guided, atol=1e-3)
    with dyna.references(Reference(noise(7), scale=0.0)):
        assert torch.equal(run(pipe, **guided), base_guided)
    dyna.detach()
    assert torch.equal(run(pipe), base)
    assert torch.equal(run(pipe, **guided), base_guided)


@pytest.mark.parametrize("kind", [kind for kind, case in CASES.items() if case.guidance])
def test_guidance_equals_two_passes_by_hand(pipeline: Make, attached: Make, kind: str) -> None:
    """Every call of a guided run once more: the positive pass with the references, the negative one without."""
    backbone, pipe = pipeline(kind)
    dyna = attached(backbone, pipe)
    references = [[Reference(noise(7), region=(0.0, 0.0, 0.5, 1.0))], [Reference(noise(8))]]
    guidance = dict(CASES[kind].guidance)
    if "negative_prompt" in guidance:
        guidance["negative_prompt"] = [guidance["negative_prompt"]] * 2
    with dyna.references(*references):
        guided = calls_of(pipe, prompts=PROMPTS, seeds=(1, 2), **guidance)
    in_one_batch = kind.startswith("Stable")
    assert len(guided) == (STEPS if in_one_batch else 2 * STEPS)
    for number, (given, output) in enumerate(guided):
        assert len(output) == (4 if in_one_batch else 2)
        passes = [(given, output, number % 2 == 0)]
        if in_one_batch:
            passes = [(rows(given, 4, 2 * half, 2 * half + 2), output[2 * half :][:2], half == 1) for half in (0, 1)]
        for part, answer, positive in passes:
            same = alone(pipe, dyna, part, *(references if positive else []))
            other = alone(pipe, dyna, part, *([] if positive else references))
            torch.testing.assert_close(answer, same, atol=1e-5, rtol=1e-4)
            assert not torch.allclose(answer, other, atol=1e-4)


@every
def test_batches_do_not_mix(pipeline: Make, attached: Make, kind: str) -> None:
    """Two prompts with a reference each, two images a prompt, a generator each: every row as if it were alone."""
    backbone, pipe = pipeline(kind)
    dyna = attached(backbone, pipe)
    first, second = Reference(noise(8)), Reference(noise(9), scale=0.8)
    with dyna.references([first], [second]):
        calls = calls_of(pipe, prompts=PROMPTS, seeds=(1, 2, 3, 4), num_images_per_prompt=2)
    assert len(calls) == STEPS
    for given, output in calls:
        for row, reference, other in ((0, first, second), (1, first, second), (2, second, first), (3, second, first)):
            part = rows(given, 4, row, row + 1)
            torch.testing.assert_close(output[row : row + 1], alone(pipe, dyna, part, reference), atol=1e-4, rtol=1e-3)
            assert not torch.allclose(output[row : row + 1], alone(pipe, dyna, part, other), atol=1e-3)


@every
def test_callbacks_and_interrupts(pipeline: Make, attached: Make, kind: str) -> None:
    """A callback sees the personalised latents; an interrupted run leaves nothing behind."""
    backbone, pipe = pipeline(kind)
    base = run(pipe)
    dyna = attached(backbone, pipe)
    seen: list[Tensor] = []

    def keep(pipe: Any, step: int, timestep: Any, values: dict[str, Tensor]) -> dict[str, Tensor]:
        seen.append(values["latents"].clone())
        return values

    def stop(pipe: Any, step: int, timestep: Any, values: dict[str, Tensor]) -> dict[str, Tensor]:
        pipe._interrupt = True
        return keep(pipe, step, timestep, values)

    with dyna.references(Reference(noise(7))):
        run(pipe, callback_on_step_end=keep)
        run(pipe, callback_on_step_end=stop)
    assert len(seen) == STEPS + 1
    assert torch.equal(seen[0], seen[STEPS])
    assert torch.equal(run(pipe), base)


@every
def test_the_scheduler_tells_the_progress_that_the_device_would(
    pipeline: Make, attached: Make, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a device nobody asks for the timestep of a step: what the scheduler counts is held against the value itself."""
    backbone, pipe = pipeline(kind)
    dyna = attached(backbone, pipe)
    told: list[tuple[float | None, float]] = []

    def both(clock: HostClock, pipe: Any, timestep: Tensor, latents: Tensor, span: float) -> float:
        value = 1 - float(timestep.flatten()[0]) / span
        told.append((clock.scheduled(getattr(pipe, "scheduler", None), timestep, latents, span), value))
        return value

    monkeypatch.setattr(HostClock, "progress", both)
    with dyna.references(Reference(noise(7))):
        run(pipe, num_inference_steps=4)
        run(pipe, num_inference_steps=4, **CASES[kind].guidance)
    assert len(told) >= 8
    assert [scheduled for scheduled, _ in told] == pytest.approx([value for _, value in told], abs=1e-6)
    assert len({value for _, value in told}) == 4


@pytest.mark.parametrize("kind", ["FluxKontextPipeline", "Flux2Pipeline", "Flux2KleinPipeline", "QwenImagePipeline"])
def test_tokens_of_the_edited_image_see_no_reference(pipeline: Make, attached: Make, kind: str) -> None:
    """The first block of each kind adds to the generated image's tokens, and nothing to those of the image that is edited."""
    backbone, pipe = pipeline(kind)
    dyna = attached(backbone, pipe, single_stream="image_tokens")
    given, _ = calls_of(pipe)[0]
    if kind.startswith(
        "Qwen"
    ):  # as its edit pipelines call it: the shapes of both images, their tokens behind each other
        given["hidden_states"] = torch.cat([given["hidden_states"], torch.randn(1, 30, 16)], dim=1)
        given["img_shapes"] = [[*given["img_shapes"][0], (1, 5, 6)]]
    call = backbone.read_pass(pipe.transformer, (), given, None)
    own, every_token = call.grid[0] * call.grid[1], given["hidden_states"].shape[1]
    assert call.grid == (HEIGHT // 2 // pipe.vae_scale_factor, WIDTH // 2 // pipe.vae_scale_factor)
    assert every_token > own
    for site in backbone.blocks(pipe.transformer)[:: len(pipe.transformer.transformer_blocks)]:
        before = call.text_tokens if site.kind == "single" else 0
        outputs: list[Tensor] = []

        def hold(module: Any, args: Any, output: Any, outputs: list[Tensor] = outputs) -> None:
            outputs.append(output[0] if isinstance(output, tuple) else output)

        handle = site.attention.register_forward_hook(hold)
        chosen = [other.name for other in backbone.blocks(pipe.transformer)].index(site.name)
        with dyna.intervene(lambda branch, block, progress, chosen=chosen: float(block == chosen)):
            alone(pipe, dyna, given)
            alone(pipe, dyna, given, Reference(noise(7)))
        handle.remove()
        added = (outputs[1] - outputs[0]).abs().amax(dim=(0, 2))
        assert added[before : before + own].min() > 0
        assert added[before + own :].max() == 0
        assert len(added) == before + every_token
