"""Shards are all cases once; what is kept beside scores names cases, metrics and libraries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from dynaip.atomic import write_table
from dynaip.config import EvaluationConfig
from dynaip.errors import InputError
from dynaip.evaluation.cases import benchmark_cases, case_table, shard_of
from dynaip.evaluation.scoring import score
from dynaip.painting import references_of


@pytest.fixture
def config() -> EvaluationConfig:
    return EvaluationConfig.model_validate(
        {
            "benchmark": {"use": "microworld", "single": 5, "multi2": 2},
            "suites": ["single", "multi2"],
            "metrics": ["oracle"],
        }
    )


def test_shards_are_all_cases_once(config: EvaluationConfig) -> None:
    whole = [case.id for case in benchmark_cases(config)]
    parts = [[case.id for case in benchmark_cases(config, (i, 3))] for i in (1, 2, 3)]
    assert sorted(name for part in parts for name in part) == sorted(whole)
    assert [len(part) for part in parts] == [3, 2, 2]
    with pytest.raises(InputError, match="there are 7 cases only"):
        benchmark_cases(config, (8, 8))
    assert shard_of("2/8") == (2, 8)
    for wrong in ("0/2", "3/2", "1", "a/b", "1/2/3", "-1/2"):
        with pytest.raises(InputError, match=r"write i/n with 1 <= i <= n"):
            shard_of(wrong)


def test_the_table_of_cases_says_what_was_asked_for(config: EvaluationConfig) -> None:
    cases = benchmark_cases(config)
    table = case_table(cases)
    assert table["case"].tolist() == [case.id for case in cases]
    assert table["seed"].tolist() == [case.seed for case in cases]
    assert [(row.height, row.width) for row in table.itertuples()] == [case.size for case in cases]
    kept = json.loads(table["references"].iloc[-1])
    assert [each["region"] for each in kept] == [list(each.region) for each in cases[-1].references]
    assert len({each["sha256"] for row in table["references"] for each in json.loads(row)}) == 5 + 4
    assert references_of(cases[-1])


def test_scores_carry_what_they_depend_on(config: EvaluationConfig, tmp_path: Path) -> None:
    cases = benchmark_cases(config)
    images: list[Any] = [case.references[0].image for case in cases]
    write_table(tmp_path / "scores.parquet", score(config, cases, images))
    found = pd.read_parquet(tmp_path / "scores.parquet").attrs["record"]
    assert found["benchmark"] == config.benchmark.dump() and found["libraries"]["torch"] in torch.__version__
    assert "cp" in found["metrics"]["builtin:oracle"]["columns"]
