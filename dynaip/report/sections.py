"""Sections that components contribute to the report: each is on its own, and one that fails becomes a line in the page."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from dynaip.config import ComponentSpec
from dynaip.registry import registry
from dynaip.report.section import ReportSection, SectionContent
from dynaip.report.tables import read_mapping

STATE_FILE = Path("analysis") / "sections.json"


def prepare_sections(directory: Path) -> dict[str, str]:
    """Compute the files of every section; give the error of those that failed, by name (also kept in a file)."""
    (directory / "analysis").mkdir(parents=True, exist_ok=True)
    states: dict[str, dict[str, Any]] = {}
    for spec in wanted(read_mapping(directory / "plan.yaml")):
        states[spec.use] = _prepare(spec, directory)
        (directory / STATE_FILE).write_text(json.dumps(states, indent=2), encoding="utf-8")
    return {name: str(state["error"]) for name, state in states.items() if state["error"]}


def _prepare(spec: ComponentSpec, directory: Path) -> dict[str, Any]:
    started = time.monotonic()
    try:
        _build(spec).prepare(directory)
        error = ""
    except Exception as failure:  # noqa: BLE001 - whatever a section raises, the report goes on without it
        error = _line(failure)
    return {"seconds": round(time.monotonic() - started, 2), "error": error}


def contents(directory: Path) -> Iterator[tuple[str, SectionContent | None, str]]:
    """Name, content and error of every section, in their order; content is None where there is nothing to show."""
    states: Mapping[str, Any] = read_mapping(directory / STATE_FILE)
    for spec in wanted(read_mapping(directory / "plan.yaml")):
        error = str(states.get(spec.use, {}).get("error", ""))
        try:
            yield spec.use, _build(spec).content(directory), error
        except Exception as failure:  # noqa: BLE001 - as above
            yield spec.use, None, error or _line(failure)


def wanted(plan: Mapping[str, Any]) -> list[ComponentSpec]:
    """The sections that the plan names, or all that are registered; by their ``order``."""
    named: Any = plan.get("report") or {}
    raw: list[Any] = list(named.get("sections") or [])
    if not raw:
        raw = [entry.qualified for entry in registry().components("report_section")]
    specs = [ComponentSpec.parse("report_section", entry, "report.sections") for entry in raw]
    return sorted(specs, key=lambda spec: int(getattr(spec.config, "order", 50)))


def _build(spec: ComponentSpec) -> ReportSection:
    return cast("ReportSection", registry().build(spec))


def _line(failure: BaseException) -> str:
    text = " ".join(str(failure).split())
    return text[:400] if text else type(failure).__name__
