"""Logs that are cut to a step."""

from __future__ import annotations

from pathlib import Path

from dynaip.training.logs import append_log, cut_log


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
