"""What a worker does once for all arms of its group."""

from __future__ import annotations

from typing import Any

import pytest

from dynaip.ablation import worker
from dynaip.config import EvaluationConfig


def test_cases_are_drawn_once_for_arms_that_ask_for_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[EvaluationConfig] = []
    real = worker.benchmark_cases
    monkeypatch.setattr(worker, "benchmark_cases", lambda config: drawn.append(config) or real(config))
    raw = {"benchmark": {"use": "microworld", "single": 2}, "suites": ["single"], "metrics": ["oracle"]}
    one = EvaluationConfig.model_validate(raw)
    same = EvaluationConfig.model_validate(raw | {"metrics": ["outline"], "batch_size": 3})
    other = EvaluationConfig.model_validate(raw | {"limit": 1})
    shelf: dict[str, Any] = {}
    found = [worker.cases_once(config, shelf) for config in (one, same, other, one)]
    assert drawn == [one, other]
    assert [len(cases) for cases in found] == [2, 2, 1, 2]
    assert found[0][1].prompt == real(one)[1].prompt
    assert found[0][1].references[0].image.tobytes() == real(one)[1].references[0].image.tobytes()
