"""The adapter that ships: the recipe microworld/shipped on the models of a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dynaip.config import ExperimentConfig, load_experiment

RECIPE = "microworld/shipped"
NAME = "microworld"


def experiment(folder: Path, overrides: Sequence[str] = ()) -> ExperimentConfig:
    """The recipe on the models in ``folder`` rather than on those that ship."""
    models = [f"backbone.model={folder / 'pipeline'}", f"encoder.model={folder / 'vision'}"]
    oracle = folder / "oracle"
    judges = f"evaluation.metrics=[{{use: oracle, model: {oracle}}}, {{use: outline, model: {oracle}}}]"
    return load_experiment(RECIPE, [*models, judges, *overrides])
