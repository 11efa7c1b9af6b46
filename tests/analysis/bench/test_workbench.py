"""What a run is evaluated with, as an analysis reads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from dynaip.config import EvaluationConfig
from dynaip.errors import ConfigError
from dynaip_analysis.bench.workbench import evaluation_if_named


def test_a_run_without_a_benchmark_has_none_and_a_mistake_is_told(
    tmp_path: Path, experiment: Callable[..., Any]
) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert evaluation_if_named(str(tmp_path)) is None
    section = {"benchmark": {"use": "microworld", "single": 3}, "suites": ["single"], "metrics": ["oracle"]}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(experiment(evaluation=section).resolved()))
    found = evaluation_if_named(str(tmp_path))
    assert isinstance(found, EvaluationConfig)
    assert found.benchmark.config.single == 3
    (tmp_path / "config.yaml").write_text("backbone: {use: flux, nonsense: 1}\n")
    with pytest.raises(ConfigError, match="nonsense"):
        evaluation_if_named(str(tmp_path))
