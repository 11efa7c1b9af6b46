"""The loop: it learns, goes on where it was broken off, and follows its schedule."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from dynaip_plugins.microworld.making.loop import Schedule, Training


def regression(folder: Path, until: int | None = None) -> nn.Linear:
    torch.manual_seed(0)
    model = nn.Linear(3, 1)

    def step() -> torch.Tensor:
        x = torch.randn(16, 3)
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
    rates = {step: schedule.rate(schedule.share(step, 0.0), step) for step in (0, 99, 500, 750, 1000)}
    assert rates[0] == pytest.approx(0.01)
    assert rates[99] == rates[500] == 1
    assert rates[750] == pytest.approx(0.5)
    assert rates[1000] == pytest.approx(0, abs=1e-9)


def test_the_clock_can_end_a_training() -> None:
    schedule = Schedule(steps=10, batch_size=1, learning_rate=1.0, seconds=60.0)
    assert [schedule.share(1000, elapsed) for elapsed in (0.0, 30.0, 60.0, 99.0)] == [0, 0.5, 1, 1]


def test_steps_that_are_not_finite_change_nothing_and_end_the_training_where_they_go_on(tmp_path: Path) -> None:
    model, calls = nn.Linear(2, 1), iter(range(1000))
    before = model.weight.detach().clone()

    def sick() -> torch.Tensor:
        return model(torch.ones(1, 2)).sum() * (float("nan") if next(calls) < 30 else 1.0)

    schedule = Schedule(steps=40, batch_size=1, learning_rate=0.1, log_every=50)
    training = Training("sick", model, schedule, tmp_path)
    training.run(sick, until=30)
    assert torch.equal(model.weight, before) and training.skipped.item() == 30
    calls, sicker = iter(range(30)), Training("sicker", model, replace(schedule, log_every=5), tmp_path)
    with pytest.raises(FloatingPointError, match="none of the last 5 steps up to 5 was finite"):
        sicker.run(sick)
