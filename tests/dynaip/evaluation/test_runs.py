"""How a run is evaluated: an imported adapter has no config, so everything is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from dynaip.errors import InputError
from dynaip.evaluation.runs import evaluation_of


def test_a_run_without_config_needs_benchmark_and_metrics(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="benchmark and metrics have to be named"):
        evaluation_of(tmp_path, {"benchmark": "microworld"})
    found = evaluation_of(
        tmp_path, {"benchmark": "microworld", "limit": 3}, ["evaluation.metrics=[{use: oracle}]", "evaluation.seed=4"]
    )
    assert (found.benchmark.name, [each.name for each in found.metrics], found.limit, found.seed) == (
        "microworld",
        ["oracle"],
        3,
        4,
    )
    with pytest.raises(InputError, match=r"no benchmark named 'microwold'\. Did you mean microworld"):
        evaluation_of("microworld", {"benchmark": "microwold"})
    with pytest.raises(InputError, match="metrics"):
        evaluation_of(tmp_path, {"benchmark": "microworld"}, ["evaluation.metrics=[]"])
