"""`dynaip report`: one line for what is wrong, one line for what was written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from dynaip.cli.app import main


def test_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "arms" / "a-1").mkdir(parents=True)
    (tmp_path / "arms" / "a-1" / "status.json").write_text(json.dumps({"state": "failed", "error": "no memory"}))
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump({"question": "?", "arms": [{"name": "a", "folder": "a-1"}]}))
    assert main(["report", str(tmp_path)]) == 0
    assert str(tmp_path / "report.html") in capsys.readouterr().out
    assert "no memory" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_folder_that_holds_no_ablation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    for name, line in (("nothing", "there is no such folder"), ("empty", "holds no ablation")):
        assert main(["report", str(tmp_path / name)]) == 2
        error = capsys.readouterr().err
        assert line in error
        assert len(error.splitlines()) == 1
