"""Sections that components contribute to the report: each on its own, and one that fails becomes a line in the page."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from dynaip.ablation.folder import AblationFolder
from dynaip.atomic import make_folder, write_json
from dynaip.config import ComponentSpec
from dynaip.contracts.section import ReportSection, SectionContent
from dynaip.reading import read_mapping
from dynaip.registry import registry

Result = TypeVar("Result")

STATES = "sections.json"
"""Seconds and error of every section, among the files that they computed."""


def prepare_sections(directory: Path, *, jobs: int = 1, threads: int | None = None) -> dict[str, str]:
    """Compute the files of every section; give the error of those that failed, by name (also kept in a file).

    With several ``jobs`` as many sections are computed at a time, each by a process with ``threads`` threads of its own; those
    of a notebook cell stay in this process. What they took is added to the ablation's timings.
    """
    folder, begun = AblationFolder(directory), time.monotonic()
    make_folder(folder.analysis)
    asked = dict(wanted(directory))
    apart = [name for name in asked if registry().find("report_section", name).importable] if jobs > 1 else []
    states: dict[str, dict[str, Any]] = {}
    if len(apart) > 1:
        from dynaip.report.apart import prepare_apart

        longest_first = sorted(apart, key=lambda name: -_effort(name, asked[name]))
        states = prepare_apart(directory, longest_first, jobs=jobs, threads=threads)
    for name, options in asked.items():
        if name not in states:
            states[name] = prepare_section(directory, name, options)
        write_json(folder.analysis / STATES, states)
    known, taken = read_mapping(folder.timings), round(time.monotonic() - begun, 1)
    write_json(
        folder.timings, known | {"analyses": taken, "total": round(known.get("total", 0.0) + taken, 1)}, indent=1
    )
    return {name: str(state["error"]) for name, state in states.items() if state["error"]}


def prepare_section(directory: Path, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Compute the files of one section; give its seconds and its error, which is empty where there is none."""
    started = time.monotonic()
    error = _attempt(lambda: build(name, options).prepare(directory))[1]
    return {"seconds": round(time.monotonic() - started, 2), "error": error}


def _effort(name: str, options: Mapping[str, Any]) -> int:
    section, _ = _attempt(lambda: build(name, options))
    return section.effort if section else 0


def contents(directory: Path) -> list[tuple[str, SectionContent | None, str]]:
    """Name, content and error of every section, in their order; content is None where there is nothing to show."""
    states: Mapping[str, Any] = read_mapping(AblationFolder(directory).analysis / STATES)
    found: list[tuple[int, str, SectionContent | None, str]] = []
    for name, options in wanted(directory):
        content, problem = _attempt(lambda: build(name, options).content(directory))  # noqa: B023 - called at once
        state = states.get(name)
        error = str(state.get("error", "")) if isinstance(state, dict) else ""
        error = error or problem
        spec, _ = _attempt(lambda: ComponentSpec.parse("report_section", {"use": name, **options}, "report"))  # noqa: B023
        found.append((int(getattr(spec.config, "order", 50)) if spec else 100, name, content, error))
    return [(name, content, error) for _, name, content, error in sorted(found, key=lambda each: each[0])]


def _attempt(work: Callable[[], Result]) -> tuple[Result | None, str]:
    try:
        return work(), ""
    except Exception as failure:
        return None, " ".join(str(failure).split())[:400] or type(failure).__name__


def wanted(directory: Path) -> list[tuple[str, dict[str, Any]]]:
    """Qualified name and options of the sections: all that are registered, but those that the plan sets to false."""
    given: Any = read_mapping(AblationFolder(directory).plan).get("report")
    chosen = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
    found: list[tuple[str, dict[str, Any]]] = []
    for entry in registry().components("report_section"):
        options: Any = chosen.get(entry.qualified, chosen.get(entry.component.name, {}))
        if options is not False:
            found.append((entry.qualified, cast("dict[str, Any]", options) if isinstance(options, dict) else {}))
    return found


def build(name: str, options: Mapping[str, Any] | None = None, path: str = "report") -> ReportSection:
    """Build a section by name, with its options; ``path`` is what errors call the place that they were given at."""
    spec = ComponentSpec.parse("report_section", {"use": name, **(options or {})}, path)
    return cast("ReportSection", registry().build(spec))
