"""Metrics of one's own in an evaluation: their columns are kept, their mistakes named, their models loaded once."""

from __future__ import annotations

from typing import Any

import pytest
from PIL import Image

import dynaip
from dynaip.config import ComponentConfig, EvaluationConfig
from dynaip.contracts import Benchmark, Case, Metric
from dynaip.errors import PluginError
from dynaip.evaluation import scoring
from dynaip.evaluation.cases import benchmark_cases
from dynaip.evaluation.scoring import score

IMAGES = [Image.new("RGB", (4, 4))] * 4
BUILT: list[str] = []
ROWS: list[dict[str, Any]] = []
CASES: dict[str, list[Case]] = {}


class NoOptions(ComponentConfig):
    """None."""


class Mine(Metric):
    """Gives what the test wants."""

    columns = ("mine", "n")

    def __init__(self, config: NoOptions) -> None:
        BUILT.append("mine")
        self.device = "nowhere"

    def to(self, device: Any) -> Mine:
        self.device = str(device)
        return self

    def score(self, cases: Any, images: Any) -> list[dict[str, float]]:
        assert self.device == "cpu"
        assert 1 / len(images)
        return ROWS


class Cases(Benchmark):
    """Gives what the test wants."""

    suites = ("one", "two")

    def __init__(self, config: NoOptions) -> None: ...

    def cases(self, suite: str, *, seed: int = 0) -> list[Case]:
        return CASES[suite]


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> EvaluationConfig:
    monkeypatch.setenv("DYNAIP_DEVICE", "cpu")
    monkeypatch.setattr(scoring, "_BUILT", {})
    dynaip.register("metric", "test_mine", config=NoOptions)(Mine)
    dynaip.register("benchmark", "test_cases", config=NoOptions)(Cases)
    BUILT.clear()
    CASES.update({suite: [Case(f"{suite}-{k}", suite, "a star", (), k) for k in range(2)] for suite in Cases.suites})
    return EvaluationConfig.model_validate({"benchmark": "test_cases", "metrics": ["test_mine", "test_mine"]})


def test_columns_of_ones_own_are_kept_and_the_metric_is_built_once(config: EvaluationConfig) -> None:
    ROWS[:] = [{"mine": k / 2, "n": float("nan")} for k in range(4)]
    cases = benchmark_cases(config)
    for _ in range(2):
        table = score(config, cases, IMAGES)
    assert BUILT == ["mine"]
    # Tables count in a column n of their own.
    assert list(table.columns) == ["case", "suite", "seed", "mine", "n_2", "mine_2", "n_3"]
    assert table["mine"].tolist() == table["mine_2"].tolist() == [0, 0.5, 1, 1.5]
    assert table["case"].tolist() == ["one-0", "one-1", "two-0", "two-1"]


def test_mistakes_of_plugins_are_named(config: EvaluationConfig) -> None:
    ROWS[:] = [{"mine": 1.0, "n": 1.0}]
    with pytest.raises(PluginError, match=r"^metric .*:test_mine: score must give .* 1 rows for 4 cases"):
        score(config, benchmark_cases(config), IMAGES)
    ROWS[:] = [{"mine": 1.0, "n": 1.0}] * 4
    with pytest.raises(PluginError, match=r"^metric .*:test_mine: score failed \(ZeroDivisionError: .*--debug"):
        score(config, benchmark_cases(config), [])
    CASES["two"] = [Case("one-1", "two", "a star", (), 0)]
    with pytest.raises(PluginError, match=r"^benchmark .*:test_cases: two cases have the id one-1"):
        benchmark_cases(config)
