"""``dynaip card`` tells what the run folder holds, and that nothing was measured where nothing was."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

from dynaip.cli.app import main
from dynaip.models import local_folder


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder that holds the adapter that ships and nothing else."""
    monkeypatch.chdir(tmp_path)
    shipped = local_folder("microworld", "adapter")
    shutil.copytree(shipped / "adapter" if (shipped / "adapter").is_dir() else shipped, tmp_path / "run" / "adapter")
    return tmp_path / "run"


def test_it_stands_beside_the_weights_and_has_the_means_of_the_scores(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["card", str(run)]) == 0
    file = run / "adapter" / "README.md"
    assert str(file) in capsys.readouterr().out
    assert "No scores are at hand" in file.read_text()

    rows = [{"case": str(n), "suite": "single", "seed": 0, "cp": n / 4, "pf": 0.5} for n in range(3)]
    pd.DataFrame(rows).to_parquet(run / "scores.parquet")
    assert main(["card", str(run), "-o", "told"]) == 0
    told = Path("told", "README.md").read_text()
    assert "| single | 3 | 0.250 | 0.500 | 0.125 |" in told
    assert "No scores" not in told
    (parts, *_) = [yaml.safe_load(text.removeprefix("yaml")) for text in told.split("```") if text.startswith("yaml")]
    assert parts["fusion"]["use"] == json.loads((run / "adapter" / "config.json").read_text())["fusion"]["use"]


def test_what_is_no_run_is_one_line(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["card", "nowhere/at-all"]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    Path("taken").write_text("")
    assert main(["card", str(run), "-o", "taken"]) == 2
    assert "taken is a file" in capsys.readouterr().err
