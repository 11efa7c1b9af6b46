"""The moving average of an adapter: what it is, what is saved, and that it goes on where it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from dynaip.evaluation.runs import evaluation_of
from dynaip.training import trainer as trainer_module
from dynaip.training.trainer import StepReport, Trainer

Weights = dict[str, torch.Tensor]


def test_an_average_is_that_of_all_steps_and_goes_on_where_it_was(
    train: Any, weights: Any, same_weights: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainers, seen, carry_out = list[Trainer](), list[Weights](), trainer_module._carry_out

    def look(report: Any = None) -> None:
        if report is None or isinstance(report, StepReport):
            seen.append({name: each.clone() for name, each in trainers[-1].dyna.state_dict().items()})

    def begun(trainer: Trainer, *given: Any, **options: Any) -> None:
        trainers.append(trainer)
        look()
        carry_out(trainer, *given, **options)

    monkeypatch.setattr(trainer_module, "_carry_out", begun)
    settings = {"steps": 4, "ema": 0.25, "batch_size": 2, "learning_rate": 1e-2}
    evaluation = {"benchmark": "microworld", "metrics": ["oracle"]}
    straight = train(tmp_path / "straight", training=settings, evaluation=evaluation, on_progress=look)
    expected = seen[0]
    for after, decay in zip(seen[1:5], (1 / 10, 2 / 11, 3 / 12, 0.25), strict=True):
        expected = {name: decay * each + (1 - decay) * after[name] for name, each in expected.items()}
    averages, last = weights(straight), weights(straight / "last")
    for name, each in expected.items():
        torch.testing.assert_close(averages[name], each)
        assert torch.equal(last[name], seen[4][name])
    assert not same_weights(straight, straight / "last")
    assert evaluation_of(straight / "last", {}).benchmark.name == "microworld", "a run of its own"

    broken = train(tmp_path / "broken", training=settings | {"steps": 2}, evaluation=evaluation)
    train(broken, training=settings, evaluation=evaluation, resume=True)
    assert same_weights(straight, broken)
    assert same_weights(straight / "last", broken / "last")
