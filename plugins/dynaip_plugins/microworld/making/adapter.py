"""Training of the adapter: the recipe microworld/shipped on the models of a build."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from dynaip.adapter.files import CONFIG, WEIGHTS
from dynaip.atomic import write_json, write_text
from dynaip.config import load_experiment
from dynaip.runs import Run
from dynaip.training.trainer import StepReport
from dynaip.training.trainer import train as train_run

from ..models.adapter import NAME, RECIPE, experiment
from .loop import Progress

READERS = 8
"""Processes that draw pairs, on machines with many cores."""


def train(out: Path, work: Path, *, scale: float, seed: int, progress: Progress | None) -> None:
    """Train in ``work`` (going on where it was broken off) and write ``out / "adapter"``; ``scale`` 1 is the recipe's length."""
    overrides = [f"training.seed={seed}"]
    if scale != 1:
        steps = round(load_experiment(RECIPE).training.steps * scale)
        overrides += [f"training.steps={max(2, steps)}", "training.batch_size=32", "source.size=96"]
    if len(os.sched_getaffinity(0)) > 2 * READERS - 1:
        overrides += [f"training.workers={READERS}"]
    config = experiment(out, overrides)

    def tell(report: object) -> None:
        if progress is not None and isinstance(report, StepReport):
            progress("adapter", report.step, report.steps, report.loss)

    publish(train_run(config, work / "adapter-run", resume=True, on_progress=tell), out / "adapter")


def publish(run: Path, folder: Path) -> None:
    """Copy a run's adapter into ``folder`` with the bundle's name in place of the build's paths."""
    folder.mkdir(parents=True, exist_ok=True)
    trained = Run(run)
    shutil.copyfile(trained.adapter / WEIGHTS, folder / WEIGHTS)
    about: dict[str, Any] = json.loads((trained.adapter / CONFIG).read_text(encoding="utf-8"))
    about["backbone"]["model"] = about["encoder"]["model"] = about["encoder"]["signature"]["model"] = NAME
    write_json(folder / CONFIG, about)
    config = load_experiment(trained.config)
    named = load_experiment(
        RECIPE, [f"training.steps={config.training.steps}", f"training.seed={config.training.seed}"]
    )
    write_text(folder / "config.yaml", named.to_yaml())
