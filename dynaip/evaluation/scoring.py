"""Scores of a run: its cases are painted and measured, one row a case."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dynaip.adapter.model import DynaIP
from dynaip.atomic import write_table
from dynaip.config import EvaluationConfig
from dynaip.contracts import Backbone, Benchmark, Case, Metric
from dynaip.errors import InputError
from dynaip.evaluation.generation import generate_cases, painted
from dynaip.evaluation.origin import origin
from dynaip.registry import registry
from dynaip.suggest import did_you_mean


def benchmark_cases(config: EvaluationConfig) -> list[Case]:
    """The cases that an evaluation asks for, suite by suite; ``InputError`` for an unknown suite."""
    benchmark: Benchmark = registry().build(config.benchmark)
    wanted = config.suites or list(benchmark.suites)
    for suite in wanted:
        if suite not in benchmark.suites:
            known = ", ".join(benchmark.suites)
            hint = did_you_mean(suite, benchmark.suites)
            raise InputError(
                f"evaluation.suites: {config.benchmark.name} has no suite {suite}; there are {known}.{hint}"
            )
    return [case for suite in wanted for case in list(benchmark.cases(suite, seed=config.seed))[: config.limit]]


def evaluate(
    config: EvaluationConfig,
    pipe: Any,
    backbone: Backbone,
    dyna: DynaIP | None,
    out: Path,
    *,
    on_image: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Generate what is missing below ``out/samples``, score all cases and write ``out/scores.parquet``.

    An image that is there already is used again if case, base, adapter, policy and options are those that made it.
    The table has one row a case: case, suite, seed, then the metrics' columns. ``dyna`` None leaves the references out.
    """
    cases = benchmark_cases(config)
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
    write_table(out / "scores.parquet", scores)
    return scores


def build_metrics(config: EvaluationConfig) -> list[Metric]:
    """The metrics of an evaluation; who scores more than once keeps them, since they may hold models."""
    return [registry().build(spec) for spec in config.metrics]


def score(
    config: EvaluationConfig, cases: Sequence[Case], images: Sequence[Any], metrics: Sequence[Metric] | None = None
) -> pd.DataFrame:
    """Score images of cases with every metric of the evaluation; a column that two of them give is numbered: ``clip_i_2``.

    ``metrics`` are those of the evaluation, where they are built already.
    """
    table = pd.DataFrame(
        {"case": [c.id for c in cases], "suite": [c.suite for c in cases], "seed": [c.seed for c in cases]}
    )
    for metric in build_metrics(config) if metrics is None else metrics:
        found = pd.DataFrame(metric.score(cases, images), columns=list(metric.columns))
        names = {name: _free(str(name), table) for name in found}
        table = pd.concat([table, found.rename(columns=names)], axis=1)
    return table


def _free(name: str, table: pd.DataFrame) -> str:
    numbered = (name if number == 1 else f"{name}_{number}" for number in itertools.count(1))
    return next(each for each in numbered if each not in table)
