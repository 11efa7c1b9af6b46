"""Runs listed and compared from planted files."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from dynaip.cli.app import main
from dynaip.report.comparison import settings_apart, smoothed
from dynaip.report.listing import runs_below


def plant(folder: Path, *, losses: list[float | None] = (), steps: int = 40, **extra: Any) -> Path:  # type: ignore[assignment]
    folder.mkdir(parents=True)
    training = {"steps": steps, "learning_rate": extra.pop("rate", 0.1)}
    (folder / "config.yaml").write_text(
        yaml.safe_dump({"training": training, "fusion": {"use": "hmoe", "router": "token"}})
    )
    lines = [{"step": step + 1, "loss": loss} for step, loss in enumerate(losses)]
    if lines:
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 99, "lo')
    for name, content in extra.items():
        (folder / name.replace("_json", ".json")).write_text(json.dumps(content))
    return folder


def test_states_steps_losses_and_scores(tmp_path: Path) -> None:
    plant(tmp_path / "a-finished", losses=[2.0, None, 1.0], trained_json={"steps": 40})
    pd.DataFrame({"case": ["x", "y"], "suite": "s", "seed": 0, "cp": [0.25, 0.75], "pf": [None, 0.5]}).to_parquet(
        tmp_path / "a-finished" / "scores.parquet"
    )
    plant(tmp_path / "b-stopped", losses=[3.0])
    held = plant(tmp_path / "c-running", losses=[3.0])
    (held / ".lock").write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
    died = plant(tmp_path / "d-died", losses=[3.0])
    (died / ".lock").write_text(json.dumps({"pid": 2**22 + 7, "host": socket.gethostname()}))
    away = plant(tmp_path / "e-elsewhere")
    (away / ".lock").write_text(json.dumps({"pid": 1, "host": "another-machine"}))
    plant(tmp_path / "f" / "arms" / "one", status_json={"state": "failed", "error": "no"})
    plant(tmp_path / "g-waiting")
    plant(tmp_path / "h-more-steps", losses=[1.0], steps=80, trained_json={"steps": 40})
    plant(tmp_path / "h-more-steps" / "checkpoints" / "inner")
    found = runs_below(tmp_path)
    assert [(each.run, each.state) for each in found] == [
        ("a-finished", "finished"), ("b-stopped", "stopped"), ("c-running", "running"), ("d-died", "stopped"),
        ("e-elsewhere", "running"), ("f/arms/one", "failed"), ("g-waiting", "waiting"), ("h-more-steps", "stopped"),
    ]  # fmt: skip
    first = found[0]
    assert (first.step, first.steps, first.loss, first.scores) == (3, 40, 1.5, {"cp": 0.5, "pf": 0.5})
    assert (found[6].step, found[6].loss) == (None, None)


def test_listed_as_table_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plant(tmp_path / "one", losses=[0.5])
    assert main(["runs", str(tmp_path)]) == 0
    assert "0.5000" in capsys.readouterr().out
    assert main(["runs", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["step"] == 1
    assert main(["runs", str(tmp_path / "nowhere")]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = plant(tmp_path / "x" / "run", losses=[2.0, 1.0]), plant(tmp_path / "y" / "run", losses=[2.0], rate=0.2)
    assert main(["compare", str(one), str(other), "--json", "-o", str(tmp_path / "curves.svg")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["settings"] == {"training.learning_rate": {"x/run": 0.1, "y/run": 0.2}}
    assert told["losses"] == {"x/run": [[1, 2.0], [2, 1.0]], "y/run": [[1, 2.0]]}
    assert "x/run" in (tmp_path / "curves.svg").read_text()
    assert main(["compare", str(one), str(other)]) == 0
    assert "training.learning_rate" in capsys.readouterr().out
    for arguments, line in (
        ([one], "two runs at least"), ([one, one], "named twice"), ([one, tmp_path], "holds no run"),
        ([one, other, "-o", tmp_path / "curves.xyz"], "name a file that ends in"),
    ):  # fmt: skip
        assert main(["compare", *map(str, arguments)]) == 2
        assert line in capsys.readouterr().err


def test_settings_that_only_one_run_has() -> None:
    apart = settings_apart([{"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}, {"a": {"b": 3, "c": 2}}])
    assert apart == [("a.b", [1, 1, 3]), ("a.c", [2, None, 2])]


def test_a_moving_mean_begins_at_the_first_value() -> None:
    assert smoothed([(1, 2.0), (2, 2.0), (3, 1.0)]) == [(1, 2.0), (2, 2.0), (3, pytest.approx(1.9))]
