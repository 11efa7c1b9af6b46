"""How a trained run is evaluated: by its own config, or by the recipe of the bundle that it came with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dynaip.config import EvaluationConfig, load_saved
from dynaip.config.explain import explained
from dynaip.config.merge import overridden, same_name
from dynaip.errors import InputError
from dynaip.models import local_folder


def evaluation_of(run: str | Path, given: Mapping[str, Any], overrides: Sequence[str] = ()) -> EvaluationConfig:
    """Read the evaluation settings of a run and change what is given.

    ``given`` are fields of ``evaluation`` (a benchmark or a metric that the run names itself keeps the run's options),
    ``overrides`` are ``path=value`` as for a config and go last. Raises ``InputError`` for an override that changes no
    evaluation, and if neither the run nor what is given names benchmark and metrics.
    """
    _check_overrides(overrides)
    file = local_folder(run, "adapter") / "config.yaml"
    own = load_saved(file).evaluation if file.is_file() else None
    flags = [f"evaluation.{name}={json.dumps(value)}" for name, value in _fields(given, own).items()]
    if own is None:
        return _named_alone([*flags, *overrides], f"{run} does not say how it is evaluated: add ")
    changed = load_saved(file, [*flags, *overrides]).evaluation
    if changed is None:
        raise InputError(f"{run}: -s evaluation=null leaves nothing to evaluate")
    return changed


def evaluation_alone(given: Mapping[str, Any], overrides: Sequence[str] = ()) -> EvaluationConfig:
    """Evaluation settings where there is no run: ``given`` and ``overrides`` as for ``evaluation_of``.

    Raises ``InputError`` for an override that changes no evaluation, and if they name no benchmark or no metrics.
    """
    _check_overrides(overrides)
    flags = [f"evaluation.{name}={json.dumps(value)}" for name, value in _fields(given, None).items()]
    return _named_alone([*flags, *overrides], "nothing says how pictures are scored: add ")


def _check_overrides(overrides: Sequence[str]) -> None:
    for text in overrides:
        if text.partition("=")[0].strip().partition(".")[0] != "evaluation":
            raise InputError(f"-s {text}: an evaluation has options of its own alone: write -s evaluation.NAME=VALUE")


def _named_alone(overrides: Sequence[str], otherwise: str) -> EvaluationConfig:
    named = overridden({"evaluation": {}}, overrides)["evaluation"]
    flag = {"benchmark": "--benchmark NAME", "metrics": "--metric NAME"}
    if lacking := " and ".join(text for name, text in flag.items() if name not in named):
        raise InputError(otherwise + lacking)
    with explained(EvaluationConfig, "evaluation"):
        return EvaluationConfig.model_validate(named)


def options_of(run: str | Path) -> dict[str, Any]:
    """Options of the pipeline's call that a run is evaluated with; none for a run that says nothing of its evaluation.

    Raises ``InputError`` if its config is damaged.
    """
    file = local_folder(run, "adapter") / "config.yaml"
    evaluation = load_saved(file).evaluation if file.is_file() else None
    return dict(evaluation.options) if evaluation else {}


def _fields(given: Mapping[str, Any], own: EvaluationConfig | None) -> dict[str, Any]:
    """Fields of ``evaluation`` as a config would have them; another benchmark has suites of its own."""
    fields = dict(given)
    if "metrics" in fields:
        known = {spec.name: spec.dump() for spec in own.metrics} if own else {}
        fields["metrics"] = [known.get(name.partition(":")[2] or name, {"use": name}) for name in fields["metrics"]]
    if own and "benchmark" in fields and not same_name(own.benchmark.use, fields["benchmark"]):
        fields = {"suites": None} | fields
    return fields
