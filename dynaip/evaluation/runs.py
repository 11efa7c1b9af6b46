"""How a trained run is evaluated: by its own config, or by the recipe of the bundle that it came with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dynaip.config import EvaluationConfig, load_saved
from dynaip.config.merge import overridden
from dynaip.errors import InputError
from dynaip.models import local_folder
from dynaip.registry.explain import explained


def evaluation_of(run: str | Path, given: Mapping[str, Any], overrides: Sequence[str] = ()) -> EvaluationConfig:
    """Read the evaluation settings of a run and change what is given.

    ``given`` are fields of ``evaluation``, ``overrides`` are ``path=value`` as for a config. Raises ``InputError`` if the run
    names no benchmark and none is given.
    """
    file = local_folder(run, "adapter") / "config.yaml"
    if not file.is_file():
        return _named(run, given, overrides)
    config = load_saved(file, overrides)
    if config.evaluation is None:
        raise InputError(f"{file} has no evaluation section; add benchmark and metrics to it")
    other = {"suites": None} if "benchmark" in given else {}
    with explained(EvaluationConfig, "evaluation"):
        return EvaluationConfig.model_validate(config.evaluation.model_dump(mode="json") | other | dict(given))


def options_of(run: str | Path) -> dict[str, Any]:
    """Options of the pipeline's call that a run is evaluated with; none for a run that says nothing of its evaluation.

    Raises ``InputError`` if its config is damaged.
    """
    file = local_folder(run, "adapter") / "config.yaml"
    evaluation = load_saved(file).evaluation if file.is_file() else None
    return dict(evaluation.options) if evaluation else {}


def _named(run: str | Path, given: Mapping[str, Any], overrides: Sequence[str]) -> EvaluationConfig:
    """Settings for a run without a config of its own, such as an imported adapter: everything has to be named."""
    named: dict[str, Any] = overridden({"evaluation": dict(given)}, overrides)["evaluation"]
    if not {"benchmark", "metrics"} <= named.keys():
        raise InputError(
            f"{run} has no config.yaml, so benchmark and metrics have to be named: --benchmark NAME "
            '-s "evaluation.metrics=[{use: clip}]"'
        )
    with explained(EvaluationConfig, "evaluation"):
        return EvaluationConfig.model_validate(named)
