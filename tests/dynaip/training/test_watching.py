"""What those who watch are told: the numbers of the log, and no package that is not there."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dynaip.errors import MissingDependency
from dynaip.runs import Run
from dynaip.training.progress import StepReport
from dynaip.training.watching import Watch, check_trackers


def report(step: int, seconds: float, loss: float = 1.0) -> StepReport:
    return StepReport(step, 10, loss, 0.1, 1.0, 0, seconds)


def test_speed_and_what_is_left_by_hand(experiment: Any, tmp_path: Path, lines: Callable[..., Any]) -> None:
    told: list[tuple[int, dict[str, float]]] = []
    accelerator = SimpleNamespace(
        is_main_process=True, num_processes=2, device=torch.device("cpu"),
        log=lambda values, step: told.append((step, values)),
    )  # fmt: skip
    config = experiment(training={"steps": 10, "batch_size": 4, "gradient_accumulation": 3})
    watch = Watch(config, Run(tmp_path), accelerator)
    for each in (report(2, 5.0), report(6, 7.0), report(7, 8.0, float("nan"))):
        watch.log(each)
    first, second, third = lines(tmp_path / "metrics.jsonl")
    assert (first["steps_a_second"], first["seconds_left"]) == (None, None)
    assert (second["steps_a_second"], second["samples_a_second"], second["seconds_left"]) == (2.0, 2.0 * 4 * 3 * 2, 2.0)
    assert third["loss"] is None
    assert [step for step, _ in told] == [2, 6, 7]
    assert told[1][1]["train/loss"] == 1.0
    assert "train/loss" not in told[2][1]


def test_what_is_measured_beside_the_loss_is_logged_and_told_by_its_name(
    experiment: Any, tmp_path: Path, lines: Callable[..., Any]
) -> None:
    told: list[dict[str, float]] = []
    accelerator = SimpleNamespace(
        is_main_process=True, num_processes=1, device=torch.device("cpu"), log=lambda values, step: told.append(values)
    )
    watch = Watch(experiment(), Run(tmp_path), accelerator)
    more = {"router": {"low": 0.25, "high": 0.75}, "validation_loss": 2.0, "validation_losses": {"0.1": float("nan")}}
    watch.log(StepReport(1, 2, 1.0, 0.1, 1.0, 0, 1.0, more))
    watch.log(report(2, 2.0))
    first, second = lines(tmp_path / "metrics.jsonl")
    assert (first["router"], first["validation_loss"]) == (more["router"], 2.0)
    assert first["validation_losses"] == {"0.1": None}
    assert "validation_loss" not in second
    assert told[0]["train/router/high"] == 0.75
    assert told[0]["train/validation_loss"] == 2.0
    assert "train/validation_losses/0.1" not in told[0]


def test_a_tracker_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match=r"training\.trackers: wandb is not installed: pip install wandb"):
        check_trackers(["wandb"])


def test_tensorboard_has_the_numbers_of_the_log(
    train: Callable[..., Path], lines: Callable[..., Any], tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = train(tmp_path / "run", training={"steps": 2, "trackers": ["tensorboard"]})
    [folder] = {
        file.parent for file in (run / "trackers").rglob("events.out.tfevents.*") if file.parent.name == "dynaip"
    }
    events = EventAccumulator(str(folder))
    events.Reload()
    logged, told = lines(run / "metrics.jsonl"), events.Scalars("train/loss")
    assert [each.step for each in told] == [line["step"] for line in logged] == [1, 2]
    assert [each.value for each in told] == pytest.approx([line["loss"] for line in logged])
