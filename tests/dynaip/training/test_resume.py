"""Logs that are cut to a step."""

from __future__ import annotations

from pathlib import Path

import pytest

from dynaip.runs import Run
from dynaip.training.resume import append_log, cut_log, finished


def test_a_log_is_cut_after_a_step_and_broken_lines_go(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    for step in (1, 2, 3):
        append_log(log, {"step": step, "ids": ["a\u2028b"]})
    whole = log.read_text()
    log.write_text(whole + '{"step": 4, "id')
    cut_log(log, 9)
    assert log.read_text() == whole
    cut_log(log, 2)
    assert log.read_text() == "".join(whole.splitlines(keepends=True)[:2])
    cut_log(log, 0)
    assert log.read_text() == ""
    cut_log(tmp_path / "none", 1)


@pytest.mark.parametrize("name", ["step-000006", "step-1000006"])
def test_a_run_is_finished_with_adapter_and_steps(tmp_path: Path, name: str) -> None:
    run = Run(tmp_path)
    assert not finished(run, 6)
    (run.checkpoints / name).mkdir(parents=True)
    (run.checkpoints / "step-by-step").mkdir()
    assert not finished(run, 6)
    run.adapter.mkdir()
    (run.adapter / "config.json").write_text("{}")
    assert finished(run, 6)
    assert not finished(run, 2_000_000)
