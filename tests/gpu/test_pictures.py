"""Microworld's pictures on the accelerator: those of a CPU, and no waiting."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import dynaip
from dynaip import Reference
from dynaip.adapter import injection


def reference(number: int = 0, **options: Any) -> Reference:
    pixels = np.random.default_rng(number).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    return Reference(Image.fromarray(pixels), **options)


def quarters() -> list[Reference]:
    boxes = [(x / 2, y / 2, (x + 1) / 2, (y + 1) / 2) for x in (0, 1) for y in (0, 1)]
    return [reference(number, region=box) for number, box in enumerate(boxes)]


def painted(where: str, *references: Reference, dtype: torch.dtype = torch.float32, **options: Any) -> torch.Tensor:
    """A picture of the shipped adapter in [0, 1], height x width x 3."""
    world = dynaip.load("microworld", device=where, dtype=dtype)
    image = world.generate("a large star at the left, on sea", *references, seed=3, **options)
    return torch.from_numpy(np.asarray(image).copy()).float() / 255


@pytest.mark.parametrize("way", ["one", "quarters"])
def test_pictures_are_those_of_a_cpu(device: torch.device, way: str) -> None:
    given = [reference()] if way == "one" else quarters()
    there, here = painted(device.type, *given), painted("cpu", *given)
    assert (there - here).abs().mean() < 0.01
    assert (there - painted(device.type)).abs().mean() > 0.01


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_paints_nearly_the_same(device: torch.device, dtype: torch.dtype) -> None:
    assert (painted(device.type, reference(), dtype=dtype) - painted(device.type, reference())).abs().mean() < 0.1


def test_regions_gathered_into_one_call(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    gathered = painted(device.type, *quarters())
    monkeypatch.setattr(injection, "gathering_pays", lambda where: False)
    assert (gathered - painted(device.type, *quarters())).abs().mean() < 1e-3


@pytest.mark.parametrize("way", ["enable_model_cpu_offload", "enable_sequential_cpu_offload"])
def test_offloading(device: torch.device, way: str) -> None:
    if device.type == "cpu" and "sequential" in way:
        pytest.skip("accelerate brings layers from a CPU to an accelerator, not from a CPU to itself")
    world = dynaip.load("microworld", device="cpu", dtype=torch.float32)
    world.dyna.detach()
    getattr(world.pipe, way)(device=device)
    world.dyna.attach(world.pipe)
    image = world.generate("a large star at the left, on sea", reference(), seed=3)
    moved = torch.from_numpy(np.asarray(image).copy()).float() / 255
    assert (moved - painted(device.type, reference())).abs().mean() < 0.01


def test_recorded_weights_of_halves_are_exact(device: torch.device) -> None:
    from dynaip_analysis.recording.reduction import weights_and_entropy

    query, key = (torch.randn(1, 4, tokens, 128).bfloat16() for tokens in (300, 77))
    weights = (query.double() @ key.double().mT / 128**0.5).softmax(-1)
    there, entropy = (part.cpu() for part in weights_and_entropy(query.to(device), key.to(device)))
    torch.testing.assert_close(there, weights.float(), atol=1e-5, rtol=1e-3)
    torch.testing.assert_close(entropy, -(weights * weights.log()).sum(-1).float(), atol=1e-4, rtol=1e-3)


def waits(world: Any, *references: Reference) -> list[str]:
    """Where the host waited for the device while one picture was painted, after the first step."""
    seen: list[str] = []
    passes = 0

    def count(*_: Any) -> None:
        nonlocal passes
        passes += 1
        if passes == 2:
            torch.cuda.set_sync_debug_mode("warn")

    handle = world.pipe.transformer.register_forward_pre_hook(count)
    try:
        with warnings.catch_warnings(record=True) as caught, world.dyna.references(*references):
            warnings.simplefilter("always")
            world.pipe("a star", num_inference_steps=6, output_type="latent", max_sequence_length=24)
        seen = [f"{each.filename}:{each.lineno}" for each in caught if "synchron" in str(each.message)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
        handle.remove()
    return seen


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch tells of waits on CUDA alone")
@pytest.mark.parametrize("way", ["one", "quarters"])
def test_no_step_waits_for_the_device(device: torch.device, way: str) -> None:
    world = dynaip.load("microworld", device=device)
    world.pipe.set_progress_bar_config(disable=True)
    given = [reference()] if way == "one" else quarters()
    waits(world, *given)
    assert len(waits(world, *given)) <= len(waits(world))
