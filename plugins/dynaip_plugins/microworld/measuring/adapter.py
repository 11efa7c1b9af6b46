"""Figures of the adapter: the metrics of its recipe on benchmark cases, with and without the reference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from dynaip.adapter.files import CONFIG, WEIGHTS, fill, read_weights
from dynaip.adapter.model import DynaIP
from dynaip.config import EvaluationConfig
from dynaip.evaluation.scoring import benchmark_cases, score
from dynaip.painting import generate_cases
from dynaip.registry import registry
from dynaip.scores import summary

from ..models.adapter import experiment

ARMS = ("adapter", "without_reference")


def measure(folder: Path, count: int, device: str = "cpu") -> dict[str, object]:
    """CP, PF and leak of the adapter in ``folder``, and of the base without reference, on ``count`` cases a suite."""
    sizes = f"evaluation.benchmark={{use: microworld, single: {count}, multi2: {count}, multi3: {count}}}"
    config = experiment(folder, [sizes])
    pipe = registry().build(config.backbone).load(device=device, dtype=torch.float32)
    dyna = DynaIP.build(config, pipe.transformer).eval()
    weights = folder / "adapter" / WEIGHTS
    fill(dyna, read_weights(weights), str(weights))
    dyna.attach(pipe)
    evaluation = config.evaluation
    assert evaluation is not None
    tables = {name: _scores(evaluation, pipe, dyna, bare=name == "without_reference") for name in ARMS}
    dyna.detach()
    steps = json.loads((folder / "adapter" / CONFIG).read_text(encoding="utf-8")).get("steps")
    return {"cases": count, "steps": steps or config.training.steps, **tables}


def _scores(evaluation: EvaluationConfig, pipe: Any, dyna: DynaIP, *, bare: bool) -> dict[str, dict[str, float]]:
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


def _row(means: Any, cases: Any) -> dict[str, float]:
    attributes = [str(name) for name in means.index if str(name).startswith("cp_") and name != "cp_pf"]
    half = 1.96 * float(cases["cp"].sem())
    painted = ("outline", "outline_own", "outline_variant")
    found = {"cp": means["cp"], "cp_95_%": half, **means[["pf", "cp_pf", "leak", *attributes, *painted]]}
    return {name: round(float(value), 4) for name, value in found.items()}
