"""Sections in processes of their own: at the same time, with their notes and errors, and as they would be in this one."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import dynaip.registry as registry_
from dynaip.notes import caught
from dynaip.registry import Registry, registry
from dynaip.report.sections import STATES, prepare_sections

SECTIONS = """
import os, signal, threading, time
from pathlib import Path

from dynaip.contracts.section import ReportSection, SectionContent
from dynaip.errors import InputError
from dynaip.notes import tell
from dynaip.registry import Component, hookimpl


class Section(ReportSection):
    def __init__(self, config):
        pass

    def content(self, directory):
        return SectionContent("Met", (directory / "analysis" / "first").read_text())


class First(Section):
    other = "second"

    def prepare(self, directory):
        out, name = directory / "analysis", type(self).__name__.lower()
        (out / name).write_text(f"{os.getpid()} {os.environ.get('OMP_NUM_THREADS')}")
        tell(f"{name} begins at {self.effort}", kind="begun")
        for _ in range(400):
            if (out / self.other).exists():
                return
            time.sleep(0.05)
        raise InputError("nobody came")


class Second(First):
    effort, other = 7, "first"


class Broken(Section):
    def prepare(self, directory):
        raise InputError("no <memory> left")


class Killed(Section):
    effort = 9

    def prepare(self, directory):
        print("about to fall", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)


@hookimpl
def dynaip_components():
    return [Component("report_section", each.__name__.lower(), each) for each in (First, Second, Broken, Killed)]
"""


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An ablation whose sections are those of a plugin file alone."""
    monkeypatch.setattr(registry_, "_current", [Registry()])
    built_in = [entry.component.name for entry in registry().components("report_section")]
    (tmp_path / "own_sections.py").write_text(SECTIONS)
    registry().load_file(tmp_path / "own_sections.py")
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump({"arms": [], "report": dict.fromkeys(built_in, False)}))
    yield tmp_path
    sys.modules.pop("dynaip_plugin_file_own_sections", None)


def test_sections_at_the_same_time(directory: Path) -> None:
    """Two wait for each other, so that they end only if both run; one is killed, one refuses, and both are said."""
    with caught() as notes:
        errors = prepare_sections(directory, jobs=2, threads=3)
    assert errors.keys() == {"own_sections:broken", "own_sections:killed"}
    assert errors["own_sections:broken"] == "no <memory> left"
    assert "SIGKILL" in errors["own_sections:killed"] and "about to fall" in errors["own_sections:killed"]
    assert ("begun", "first begins at 0") in notes and ("begun", "second begins at 7") in notes
    processes, threads = zip(*((directory / "analysis" / name).read_text().split() for name in ("first", "second")))
    assert len({*processes}) == 2
    assert threads == ("3", "3")
    states = json.loads((directory / "analysis" / STATES).read_text())
    assert {name for name, state in states.items() if not state["error"]} == {
        "own_sections:first",
        "own_sections:second",
    }
    assert states["own_sections:broken"]["seconds"] >= 0
    assert json.loads((directory / "timings.json").read_text())["analyses"] > 0


def test_the_longest_are_begun_first(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dynaip.report import apart

    begun: list[str] = []
    monkeypatch.setattr(apart, "prepare_apart", lambda at, names, **more: begun.extend(names) or {})
    monkeypatch.setattr("dynaip.report.sections.prepare_section", lambda *given: {"error": ""})
    prepare_sections(directory, jobs=2)
    assert [name.partition(":")[2] for name in begun] == ["killed", "second", "broken", "first"]


def test_a_section_of_a_notebook_cell_stays_here(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No other process knows it."""
    from dynaip.contracts.section import ReportSection
    from dynaip.registry import Component

    class Cell(ReportSection):
        def __init__(self, config: object) -> None: ...

        def prepare(self, directory: Path) -> None:
            (directory / "analysis" / "cell").touch()

        def content(self, directory: Path) -> None: ...

    from dynaip.report import apart

    registry().register(Component("report_section", "cell", Cell))
    asked: list[str] = []
    monkeypatch.setattr(
        apart, "prepare_apart", lambda at, names, **more: asked.extend(names) or {name: {"error": ""} for name in names}
    )
    assert prepare_sections(directory, jobs=2) == {}
    assert len(asked) == 4
    assert (directory / "analysis" / "cell").exists()
