"""``dynaip recipes`` lists what ships, and copies it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dynaip.cli.app import main
from dynaip.config import recipes


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def test_every_recipe_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in recipes())


def test_a_copy_equals_the_recipe_and_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "copy", "microworld/demo"]) == 0
    assert (tmp_path / "demo.yaml").read_bytes() == recipes()["microworld/demo"].read_bytes()
    assert capsys.readouterr().out == "wrote demo.yaml\n"
    assert main(["recipes", "copy", "microworld/demo"]) == 2
    assert "demo.yaml exists" in capsys.readouterr().err
    assert main(["recipes", "copy", "microworld/demo", "--force"]) == 0
    assert main(["recipes", "copy", "microworld/demo", "a/b.yaml"]) == 0
    assert (tmp_path / "a/b.yaml").is_file()


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["recipes", "copy", "microworld/demo", "file/b.yaml"]) == 2
    assert "file/b.yaml cannot be written" in capsys.readouterr().err
