"""``make gpu`` ends when its time is spent, and loses nothing of what was measured by then."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import time
from pathlib import Path
from pkgutil import resolve_name
from types import SimpleNamespace

import pytest
import torch

from tests.gpu import __main__ as gpu
from tests.gpu.rows import Reader, Teller
from tests.gpu.table import Table
from tests.gpu.timing import Clock, Figure, Measure, in_turn, number

STAGE = """
import sys, time
from pathlib import Path
from tests.gpu.rows import Teller
from tests.gpu.timing import number
teller = Teller(Path(sys.argv[1]))
teller.plan(["first", "second", "third"])
teller.begun("first")
teller.figure(number("a figure", 3, budget=5))
teller.done("first", 0.1)
teller.begun("second")
time.sleep(600)
"""


def session(tmp_path: Path, seconds: float, monkeypatch: pytest.MonkeyPatch) -> gpu.Session:
    """A run whose stages all stop in their second measurement."""

    def start(self: gpu.Session, name: str, rows: Path, share: float, only: list[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", STAGE, str(rows)], cwd=gpu.ROOT, start_new_session=True)

    monkeypatch.setattr(gpu.Session, "_start", start)
    given = SimpleNamespace(out=tmp_path, minutes=(seconds + gpu.RESERVE) / 60, stages=["flux"], small=True, only=[])
    return gpu.Session(given)  # pyright: ignore[reportArgumentType]


def test_a_stage_that_hangs_is_ended_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = session(tmp_path, 600, monkeypatch)
    # Its time is spent once it has told what it measured.
    monkeypatch.setattr(
        Clock, "left", property(lambda clock: -1.0 if run.table.waiting == ["second", "third"] else 600.0)
    )
    assert run.run() == 0
    told = json.loads((tmp_path / "gpu.json").read_text())
    assert [(row["what"], row["value"], row["verdict"]) for row in told["figures"]] == [("a figure", 3, "within")]
    assert told["left_out"] == {"second": "not measured (no time, begun)", "third": "not measured (no time)"}
    assert "second: not measured (no time, begun)" in capsys.readouterr().out


def test_what_a_broken_process_did_not_come_to_is_measured_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, asked = session(tmp_path, 600, monkeypatch), list[list[str]]()
    broken = STAGE.replace("time.sleep(600)", "sys.exit(7)")
    whole = 'teller.plan(["third"])\nteller.begun("third")\nteller.done("third", 0.1)\n'
    second = STAGE[: STAGE.index("teller.plan")] + whole

    def start(name: str, rows: Path, share: float, only: list[str]) -> subprocess.Popen[bytes]:
        asked.append(only)
        script = second if only else broken
        return subprocess.Popen([sys.executable, "-c", script, str(rows)], cwd=gpu.ROOT, start_new_session=True)

    monkeypatch.setattr(run, "_start", start)
    assert run.run() == 1
    assert asked == [[], ["third"]]
    assert run.table.failed == {"stage flux": "its process ended with 7"}
    assert run.table.left_out == {"second": "not measured (its process had ended, begun)"}


def test_whoever_ends_it_gets_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = session(tmp_path, 600, monkeypatch)

    def watch(process: object, rows: Reader, share: Clock) -> str:
        while not run.table.figures:
            run._take(rows)
            time.sleep(0.05)
        raise gpu.Ended

    monkeypatch.setattr(run, "_watch", watch)
    assert run.run() == 143
    told = json.loads((tmp_path / "gpu.json").read_text())
    assert len(told["figures"]) == 1
    assert set(told["left_out"].values()) <= {
        "not measured (ended from outside, begun)", "not measured (ended from outside)",
    }  # fmt: skip


def test_without_time_a_stage_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = session(tmp_path, 0, monkeypatch)
    run.clock = Clock(1)
    assert run.run() == 0
    assert run.table.left_out == {"flux": "not measured (no time)"}


def test_a_row_that_is_being_written_waits(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    reader = Reader(rows)
    assert reader.new() == []
    Teller(rows).note("one")
    with rows.open("a") as file:
        file.write('{"kind": "no')
    assert [row["text"] for row in reader.new()] == ["one"]
    with rows.open("a") as file:
        file.write('te", "text": "two"}\n')
    assert [row["text"] for row in reader.new()] == ["two"]


def test_rounds_end_with_the_clock() -> None:
    found = in_turn({"one": lambda: time.sleep(0.2) or 1.0, "other": lambda: 2.0}, 50, Clock(0.7), warm_up={})
    assert 1 <= len(found["one"]) == len(found["other"]) < 50
    assert len(in_turn({"one": lambda: 1.0}, 3, Clock(-1))["one"]) == 1, "one round at least"


def test_a_measure_that_fails_stops_no_other(tmp_path: Path) -> None:
    from tests.gpu.stage import measured

    def broken(clock: Clock) -> list[Figure]:
        raise ValueError("no")

    table, rows = Table(tmp_path / "gpu.json"), tmp_path / "rows.jsonl"
    good = Measure("good", 5, lambda clock: [number("x", 1)])
    long = Measure("long", 5, lambda clock: [], need=1e6)
    measured(Teller(rows), Clock(60), [Measure("bad", 5, broken), long, good])
    for row in Reader(rows).new():
        table.take(row)
    assert table.failed == {"bad": "ValueError: no"}
    assert list(table.left_out) == ["long"]
    assert [figure.what for figure in table.figures] == ["x"]
    assert table.waiting == []


def test_without_an_accelerator_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu", "--out", str(tmp_path / "out")])
    assert gpu.main() == 0
    assert capsys.readouterr().out == "no accelerator on this machine: nothing to run\n"
    assert not (tmp_path / "out").exists()


def test_what_its_scripts_import_is_there() -> None:
    """Most of it is imported where an accelerator is at hand alone: what was renamed would be noticed there."""
    lacking: list[str] = []
    for file in Path(gpu.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                for name in node.names:
                    try:
                        resolve_name(f"{node.module}:{name.name}")
                    except (ImportError, AttributeError):
                        lacking.append(f"{file.name}: {node.module}.{name.name}")
    assert lacking == []
