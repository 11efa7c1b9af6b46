"""Scores of a run: its cases are painted and measured, one row a case."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dynaip.adapter.model import DynaIP
from dynaip.atomic import write_table
from dynaip.config import ComponentSpec, EvaluationConfig
from dynaip.contracts import Backbone, Case, Metric
from dynaip.device import choose
from dynaip.errors import DynaIPError, PluginError
from dynaip.evaluation.cases import benchmark_cases, case_table, record
from dynaip.evaluation.generation import painted
from dynaip.evaluation.origin import origin
from dynaip.notes import gathered
from dynaip.painting import generate_cases
from dynaip.promises import check_columns, check_rows
from dynaip.registry import registry
from dynaip.scores import RESERVED
from dynaip.suggest import one_line


def evaluate(
    config: EvaluationConfig,
    pipe: Any,
    backbone: Backbone,
    dyna: DynaIP | None,
    out: Path,
    *,
    cases: Sequence[Case] | None = None,
    part: str = "",
    on_image: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Generate what is missing below ``out/samples``, score all cases and write ``out/scores.parquet``.

    An image that is there already is used again if case, base, adapter, policy and options are those that made it.
    The table has one row a case: case, suite, seed, then the metrics' columns. ``dyna`` None leaves the references out;
    ``cases`` are those of the evaluation, where they are made already. ``out/cases.parquet`` keeps prompts, seeds and sizes;
    ``part`` is put behind the names of both tables where these cases are a part of them.
    """
    cases = benchmark_cases(config) if cases is None else cases
    with gathered():
        images = painted(
            out / "samples",
            cases,
            lambda missing: generate_cases(
                pipe, backbone, missing, dyna=dyna, batch_size=config.batch_size, options=config.options
            ),
            (lambda done: on_image(done, len(cases))) if on_image else None,
            origin(pipe, backbone, dyna, config.options),
        )
        scores = score(config, cases, images)
    write_table(out / f"cases{part}.parquet", case_table(cases))
    write_table(out / f"scores{part}.parquet", scores)
    return scores


def build_metrics(config: EvaluationConfig) -> list[Metric]:
    """The metrics of an evaluation, on the device that ``auto`` stands for; each is built once a process."""
    return [metric_of(spec, choose()) for spec in config.metrics]


_BUILT: dict[tuple[Any, ...], Metric] = {}


def metric_of(spec: ComponentSpec, device: Any) -> Metric:
    """A metric on a device, built once a process: its models are loaded once, however often it scores."""
    key = (registry().target(spec.kind, spec.use), json.dumps(spec.dump(), sort_keys=True), str(device))
    if key not in _BUILT:
        _BUILT[key] = registry().build(spec)
        _BUILT[key].to(device)
    return _BUILT[key]


def score(
    config: EvaluationConfig, cases: Sequence[Case], images: Sequence[Any], metrics: Sequence[Metric] | None = None
) -> pd.DataFrame:
    """Score images of cases with every metric of the evaluation; a column that two of them give is numbered: ``clip_i_2``.

    ``metrics`` are those of the evaluation, where they are built already. Raises ``PluginError`` that names the metric where
    its rows are not what its columns promise.
    """
    table = pd.DataFrame(
        {"case": [c.id for c in cases], "suite": [c.suite for c in cases], "seed": [c.seed for c in cases]}
    )
    if any(case.category for case in cases):
        table["category"] = [case.category for case in cases]
    about: dict[str, Any] = {}
    names = [spec.use for spec in config.metrics] if metrics is None else [type(each).__name__ for each in metrics]
    for name, metric in zip(names, build_metrics(config) if metrics is None else metrics, strict=True):
        who = f"metric {name}"
        columns = check_columns(who, metric.columns)
        rows = check_rows(who, columns, _scored(who, metric, cases, images), cases)
        found = pd.DataFrame(rows, columns=columns, dtype=float)
        free = {column: free_name(column, {*RESERVED, *table.columns}) for column in columns}
        table = pd.concat([table, found.rename(columns=free)], axis=1)
        about[free_name(name, about)] = {"columns": [*free.values()], **metric.about()}
    table.attrs["record"] = record(config, about)
    return table


def _scored(who: str, metric: Metric, cases: Sequence[Case], images: Sequence[Any]) -> Any:
    """Ask a metric; what it stumbles over is named as its own."""
    try:
        return metric.score(cases, images)
    except DynaIPError:
        raise
    except Exception as error:
        raise PluginError(f"{who}: score failed ({one_line(error)}); --debug shows where") from error


def free_name(name: str, taken: Collection[str]) -> str:
    """The name itself, or numbered: ``clip_i_2``."""
    numbered = (name if number == 1 else f"{name}_{number}" for number in itertools.count(1))
    return next(each for each in numbered if each not in taken)
