"""Evaluation of microworld on the accelerator."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch


def test_evaluation_scores_as_on_a_cpu(device: torch.device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pandas as pd

    from dynaip.cli.app import main

    tables = []
    for where in (device.type, "cpu"):
        monkeypatch.setenv("DYNAIP_DEVICE", where)
        assert main(["evaluate", "microworld", "--limit", "16", "--suite", "single", "-o", str(tmp_path / where)]) == 0
        tables.append(pd.read_parquet(tmp_path / where / "scores.parquet"))
    there, here = (table["cp"].mean() for table in tables)
    error = tables[1]["cp"].std() / 4
    assert abs(there - here) <= 2 * error
