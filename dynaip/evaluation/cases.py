"""The cases of an evaluation: chosen by suite, number and shard, and written down; what a table of scores depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pandas as pd

from dynaip.config import EvaluationConfig
from dynaip.contracts import Benchmark, Case
from dynaip.errors import InputError
from dynaip.promises import check_cases, check_different
from dynaip.registry import registry
from dynaip.suggest import did_you_mean
from dynaip.version import __version__

LIBRARIES = ("torch", "transformers", "diffusers", "numpy", "pillow", "scipy")
"""Libraries whose versions are kept with scores."""


def benchmark_of(config: EvaluationConfig) -> Benchmark:
    """The benchmark of an evaluation."""
    return registry().build(config.benchmark)


def benchmark_cases(config: EvaluationConfig, shard: tuple[int, int] | None = None) -> list[Case]:
    """The cases that an evaluation asks for, suite by suite; ``InputError`` for an unknown suite.

    ``shard`` (i, n) gives every n-th of them, from the i-th on: together the shards 1 to n are all cases.
    """
    benchmark = benchmark_of(config)
    wanted = config.suites or list(benchmark.suites)
    for suite in wanted:
        if suite not in benchmark.suites:
            known = ", ".join(benchmark.suites)
            hint = did_you_mean(suite, benchmark.suites)
            raise InputError(
                f"evaluation.suites: {config.benchmark.name} has no suite {suite}; there are {known}.{hint}"
            )
    who, cases = f"benchmark {config.benchmark.use}", list[Case]()
    for suite in wanted:
        cases += check_cases(who, suite, benchmark.cases(suite, seed=config.seed))[: config.limit]
    check_different(who, cases)
    if not cases:
        raise InputError(f"{config.benchmark.name} has no cases in {', '.join(wanted)}: there is nothing to score")
    if shard is None:
        return cases
    if len(cases) < shard[0]:
        raise InputError(f"--shard {shard[0]}/{shard[1]}: there are {len(cases)} cases only: take fewer shards")
    return cases[shard[0] - 1 :: shard[1]]


def shard_of(text: str) -> tuple[int, int]:
    """Read ``2/8``: the second of eight shards. ``InputError`` for anything else."""
    first, _, second = text.partition("/")
    if first.isdigit() and second.isdigit() and 1 <= int(first) <= int(second):
        return int(first), int(second)
    raise InputError(f"--shard {text}: write i/n with 1 <= i <= n, such as 1/4")


def case_table(cases: Sequence[Case]) -> pd.DataFrame:
    """What has to be known to paint the cases again: one row a case, with size, seed and digests of the references."""
    rows = [
        {
            "case": case.id,
            "suite": case.suite,
            "category": case.category,
            "prompt": case.prompt,
            "seed": case.seed,
            "height": case.size[0] if case.size else None,
            "width": case.size[1] if case.size else None,
            "references": json.dumps(
                [
                    {
                        "subject": each.subject,
                        "region": each.region,
                        "sha256": hashlib.sha256(each.image.tobytes()).hexdigest(),
                    }
                    for each in case.references
                ]
            ),
        }
        for case in cases
    ]
    return pd.DataFrame(rows).astype({"height": "Int64", "width": "Int64"})


def record(config: EvaluationConfig, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """What scores depend on beside the pictures: benchmark, seed, metrics and libraries; kept with the table as ``attrs``."""
    return {
        "dynaip": __version__,
        "benchmark": config.benchmark.dump(),
        "seed": config.seed,
        "metrics": dict(metrics),
        "libraries": {name: found for name in LIBRARIES if (found := _version(name))},
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
