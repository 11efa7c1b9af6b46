"""The adapter that ships: the recipe microworld/shipped, trained on the models of a build and measured with its oracle."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dynaip.adapter.files import CONFIG, WEIGHTS, fill, read_weights
from dynaip.adapter.model import DynaIP
from dynaip.config import EvaluationConfig, ExperimentConfig, load_experiment
from dynaip.evaluation.scoring import benchmark_cases, score, summary
from dynaip.runs import Run, write_text
from dynaip.training.trainer import StepReport
from dynaip.training.trainer import train as train_run

from .training import Progress

RECIPE = "microworld/shipped"
NAME = "microworld"


def experiment(folder: Path, overrides: Sequence[str] = ()) -> ExperimentConfig:
    """The recipe on the models in ``folder`` rather than on those that ship."""
    models = [f"backbone.model={folder / 'pipeline'}", f"encoder.model={folder / 'vision'}"]
    oracle = f"evaluation.metrics=[{{use: oracle, model: {folder / 'oracle'}}}]"
    return load_experiment(RECIPE, [*models, oracle, *overrides])


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
    write_text(folder / CONFIG, json.dumps(about, indent=2) + "\n")
    config = load_experiment(trained.config)
    named = load_experiment(
        RECIPE, [f"training.steps={config.training.steps}", f"training.seed={config.training.seed}"]
    )
    write_text(folder / "config.yaml", named.to_yaml())


def measure(folder: Path, count: int) -> dict[str, object]:
    """CP, PF and leak of the adapter in ``folder``, and of the base without reference, on ``count`` cases a suite."""
    sizes = f"evaluation.benchmark={{use: microworld, single: {count}, multi2: {count}, multi3: {count}}}"
    config = experiment(folder, [sizes])
    backbone_pipe = _pipeline(config)
    dyna = DynaIP.build(config, backbone_pipe.transformer).eval()
    weights = folder / "adapter" / WEIGHTS
    fill(dyna, read_weights(weights), str(weights))
    dyna.attach(backbone_pipe)
    evaluation = config.evaluation
    assert evaluation is not None
    tables = {name: _scores(evaluation, backbone_pipe, dyna, bare=name == "without_reference") for name in ARMS}
    dyna.detach()
    steps = json.loads((folder / "adapter" / CONFIG).read_text(encoding="utf-8")).get("steps")
    return {"cases": count, "steps": steps or config.training.steps, **tables}


ARMS = ("adapter", "without_reference")


def _pipeline(config: ExperimentConfig) -> Any:
    import torch

    from dynaip.registry import registry

    return registry().build(config.backbone).load(device="cpu", dtype=torch.float32)


def _scores(evaluation: EvaluationConfig, pipe: Any, dyna: DynaIP, *, bare: bool) -> dict[str, dict[str, float]]:
    from dynaip.evaluation.generation import generate_cases

    cases = benchmark_cases(evaluation)
    made = generate_cases(
        pipe,
        dyna.backbone,
        cases,
        dyna=None if bare else dyna,
        batch_size=evaluation.batch_size,
        options=evaluation.options,
    )
    scores = score(evaluation, cases, [image for _, image in made])
    return {
        str(row["suite"]): _row(row, scores[scores["suite"] == row["suite"]]) for _, row in summary(scores).iterrows()
    }


def _row(means: pd.Series[Any], cases: pd.DataFrame) -> dict[str, float]:
    attributes = [str(name) for name in means.index if str(name).startswith("cp_") and name != "cp_pf"]
    half = 1.96 * float(cases["cp"].sem())
    found = {"cp": means["cp"], "cp_95_%": half, **means[["pf", "cp_pf", "leak", *attributes]]}
    return {name: round(float(value), 4) for name, value in found.items()}
