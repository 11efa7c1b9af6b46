"""Evaluation and analyses of microworld on the accelerator."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch


@pytest.mark.parametrize("what", ["attention", "routing", "decoupling", "granularity", "interventions"])
def test_analyses_run_on_the_device(device: torch.device, what: str, tmp_path: Path) -> None:
    from dynaip.cli.app import main

    on_cuda = device.type == "cuda"
    if on_cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.max_memory_allocated()
    less = ["-s", "cases=4", *(["-s", "probed=60"] if what == "granularity" else [])]
    assert main(["analyze", "microworld", what, "-o", str(tmp_path), *less, "--device", device.type]) == 0
    assert list(tmp_path.rglob("*.png"))
    assert not on_cuda or torch.cuda.max_memory_allocated() > before + 2**20


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
