"""``dynaip check`` prints a config resolved, and the arms of an ablation."""

from __future__ import annotations

from pathlib import Path

import pytest

from dynaip.cli.app import main
from dynaip.config import load_any, recipes


@pytest.mark.parametrize("name", recipes())
def test_every_recipe_is_valid(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["check", name])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    assert f"({load_any(name).hash()}): valid" in captured.out.splitlines()[0]


def test_what_is_printed_is_a_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("microworld/dynaip", "microworld/demo"):
        assert main(["check", name, "-s", "training.steps=7"]) == 0
        file = tmp_path / "printed.yaml"
        file.write_text(capsys.readouterr().out)
        assert load_any(file).hash() == load_any(name, ["training.steps=7"]).hash()


def test_the_demo_has_eight_arms_from_four_kinds_of_training(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "microworld/demo"]) == 0
    arms = [line for line in capsys.readouterr().out.splitlines() if line.startswith("#   ")]
    assert len(arms) == 8
    assert main(["check", "microworld/dynaip", "-s", "fusion.routr=image"]) == 2
    error = capsys.readouterr().err
    assert "recipe microworld/dynaip: fusion.routr: there is no option 'routr' here. Did you mean router?" in error
