"""What the host knows of a pass without asking the device."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from dynaip_plugins.backbones.clock import HostClock


def scheduler_at(step: int, steps: int = 4) -> Any:
    scheduler = FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(steps)
    scheduler.set_begin_index(0)
    for each in range(step):
        scheduler.step(torch.zeros(1), scheduler.timesteps[each], torch.zeros(1))
    return scheduler


def test_a_schedule_is_read_once() -> None:
    clock, latents = HostClock(), torch.zeros(1)
    scheduler = scheduler_at(0)
    seen = []
    for step in range(4):
        timestep = scheduler.timesteps[step].expand(2) / 1000
        seen.append(clock.scheduled(scheduler, timestep, latents, 1.0))
        latents = torch.zeros(1)
        scheduler.step(torch.zeros(1), scheduler.timesteps[step], torch.zeros(1))
    assert seen == pytest.approx([1 - float(each) / 1000 for each in scheduler.timesteps])


def test_another_pass_of_the_same_step_is_told_the_same() -> None:
    clock, latents, scheduler = HostClock(), torch.zeros(1), scheduler_at(1)
    timestep = scheduler.timesteps[1].expand(1) / 1000
    first, second = (clock.scheduled(scheduler, timestep, latents, 1.0) for _ in range(2))
    assert first == second == pytest.approx(1 - float(scheduler.timesteps[1]) / 1000)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_timestep_is_rounded_as_the_pipeline_rounds_it(dtype: torch.dtype) -> None:
    scheduler = scheduler_at(2)
    timestep = scheduler.timesteps[2].expand(1).to(dtype) / 1000
    told = HostClock().scheduled(scheduler, timestep, torch.zeros(1), 1.0)
    assert told == 1 - float(timestep[0])


def test_what_a_caller_counts_himself_is_not_told() -> None:
    """A timestep that is not the scheduler's, a scheduler that did not move, one past its end, none at all."""
    scheduler = scheduler_at(1)
    other = torch.full((1,), 0.123)
    assert HostClock().scheduled(scheduler, other, torch.zeros(1), 1.0) is None
    clock, timestep = HostClock(), scheduler.timesteps[1].expand(1) / 1000
    latents = torch.zeros(1)
    assert clock.scheduled(scheduler, timestep, latents, 1.0) is not None
    assert clock.scheduled(scheduler, timestep * 0.5, torch.zeros(1), 1.0) is None
    assert HostClock().scheduled(scheduler_at(4), timestep, latents, 1.0) is None
    assert HostClock().scheduled(None, timestep, latents, 1.0) is None
    assert HostClock().scheduled(SimpleNamespace(timesteps=[1, 2]), timestep, latents, 1.0) is None


class OnDevice(Tensor):
    """A tensor that says it lies on an accelerator, and refuses to be read."""

    @classmethod
    def of(cls, values: Tensor) -> Tensor:
        return values.as_subclass(cls)

    @property
    def device(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return SimpleNamespace(type="cuda")

    def __float__(self) -> float:
        raise AssertionError("the device was asked")


def test_what_is_known_is_not_asked_of_the_device() -> None:
    clock, timestep = HostClock(), OnDevice.of(torch.full((2,), 0.25))
    clock.know_progress(timestep, 0.75)
    assert clock.progress(None, timestep, torch.zeros(1), 1.0) == 0.75
    with pytest.raises(AssertionError, match="was asked"):
        clock.progress(None, OnDevice.of(torch.full((2,), 0.25)), torch.zeros(1), 1.0)


def test_the_grid_of_a_tensor_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = torch.zeros(6, 3)
    ids[:, 1], ids[:, 2] = torch.arange(6) // 3, torch.arange(6) % 3
    clock = HostClock()
    assert clock.grid(ids) == (2, 3)
    monkeypatch.setattr("dynaip_plugins.backbones.clock.grid_of", None)
    assert clock.grid(ids) == (2, 3)
    clock.know_grid(other := torch.zeros(4, 3), (2, 2))
    assert clock.grid(other) == (2, 2)
