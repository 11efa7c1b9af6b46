"""``dynaip show`` names options with types, defaults and descriptions."""

from __future__ import annotations

from pathlib import Path

import pytest

import dynaip.registry
from dynaip.cli.app import main
from dynaip.registry import Registry

SOURCE = '''
import dynaip
from dynaip.config import ComponentConfig
from typing import Literal

class Config(ComponentConfig):
    router: Literal["token", "image"] = "token"
    """How the router looks."""
    size: int

@dynaip.register("executor", "own", config=Config, summary="my own")
class Own: pass
'''


@pytest.fixture(autouse=True)
def plugin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(dynaip.registry, "_current", [Registry()])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_file.py").write_text(SOURCE)


def test_options_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "executor", "own", "--plugin", "own_file.py"]) == 0
    out = capsys.readouterr().out
    assert "executor own_file:own" in out
    assert "my own" in out
    assert "dynaip.contracts.Executor" in out
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in out.splitlines() if line.strip()}
    assert rows["router"] == "token | image token How the router looks."
    assert rows["size"] == "int required"


def test_a_component_without_options_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "bundle", "builtin:microworld"]) == 0
    assert "It has no options." in capsys.readouterr().out
