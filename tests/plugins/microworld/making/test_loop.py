"""The loop: it learns, goes on where it was broken off, and follows its schedule."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from dynaip_plugins.microworld.making.loop import Schedule, Training


def regression(folder: Path, until: int | None = None) -> nn.Linear:
    torch.manual_seed(0)
    model = nn.Linear(3, 1)

    def step(generator: torch.Generator) -> torch.Tensor:
        x = torch.randn(16, 3, generator=generator)
        return (model(x)[:, 0] - x @ torch.tensor([1.0, -2.0, 3.0])).square().mean()

    schedule = Schedule(steps=400, batch_size=16, learning_rate=0.05, warmup=10, ema=0.9)
    Training("line", model, schedule, folder).run(step, until=until)
    return model


def test_training_finds_the_answer(tmp_path: Path) -> None:
    weight = regression(tmp_path).weight[0]
    torch.testing.assert_close(weight, torch.tensor([1.0, -2.0, 3.0]), atol=1e-2, rtol=0)


def test_an_interrupted_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    straight = regression(tmp_path / "straight")
    regression(tmp_path / "broken", until=137)
    resumed = regression(tmp_path / "broken")
    assert torch.equal(straight.weight, resumed.weight)


def test_rate_rises_holds_and_falls_to_zero() -> None:
    schedule = Schedule(steps=1000, batch_size=1, learning_rate=1.0, warmup=100, hold=0.5)
    assert schedule.rate(0) == pytest.approx(0.01)
    assert schedule.rate(99) == schedule.rate(500) == 1
    assert schedule.rate(750) == pytest.approx(0.5)
    assert schedule.rate(1000) == pytest.approx(0, abs=1e-9)
