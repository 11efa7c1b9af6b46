"""``dynaip plugins`` lists, in a table and as JSON, and shows what failed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import dynaip.registry
from dynaip.cli.app import main
from dynaip.registry import Registry

GOOD = """
import dynaip
from dynaip.config import ComponentConfig
@dynaip.register("executor", "own", config=ComponentConfig, summary="my own")
class Own: pass
"""


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(dynaip.registry, "_current", [Registry()])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.py").write_text(GOOD)
    (tmp_path / "bad.py").write_text("1 / 0")


def test_table_has_origin_version_state(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "executor", "--plugin", "good.py"]) == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if " own " in line]
    assert line.split() == ["executor", "own", "good", "file", "ready", "my", "own"]


def test_json_has_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "--json", "--plugin", "good.py", "--plugin", "bad.py"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert {"kind", "name", "qualified", "version", "origin", "state", "summary"} == set(data["components"][0])
    assert {"builtin:microworld", "good:own"} <= {each["qualified"] for each in data["components"]}
    failed = [each for each in data["failures"] if each["plugin"] == "bad"]
    assert failed == [{"plugin": "bad", "stage": "import", "error": "ZeroDivisionError: division by zero"}]


def test_errors_say_which_stage_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "--errors", "--plugin", "bad.py"]) == 0
    assert "bad: failed at import: ZeroDivisionError: division by zero\n" in capsys.readouterr().out
    assert main(["plugins", "--plugin", "bad.py"]) == 0
    assert "1 plugin failed: dynaip plugins --errors says why" in capsys.readouterr().out
