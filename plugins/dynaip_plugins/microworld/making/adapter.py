"""Training of the adapter: the recipe microworld/shipped on the models of a build."""

from __future__ import annotations

import json
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


def train(out: Path, work: Path, *, steps: int | None, seed: int, progress: Progress | None) -> None:
    """Train in ``work`` (going on where it was broken off) and write ``out / "adapter"``; ``steps`` None is the recipe's."""
    overrides = [f"training.seed={seed}"] + ([] if steps is None else [f"training.steps={steps}", "source.size=96"])
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
