"""Builds the report: one HTML page that needs no network, made from the files of an ablation alone."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from dynaip.ablation.answer import minus, summarise
from dynaip.atomic import write_text
from dynaip.contracts.section import SectionContent
from dynaip.errors import InputError
from dynaip.reading import read_rows
from dynaip.report.directory import AblationDirectory
from dynaip.report.gallery import gallery
from dynaip.report.pictures import figure, printed_width
from dynaip.report.sections import contents
from dynaip.report.tables import write_csv
from dynaip.report.view import SuiteView, duration, flatten, looks, parts, stages, suites, summary_rows

TABLE_ROWS = 60
"""Longer tables of sections are cut in the page; their file has all rows."""


def build_report(directory: Path) -> Path:
    """Write `report.html` and `summary.csv` into the directory of an ablation, finished or not; give the page's path.

    Raises ``InputError`` if the directory holds neither a plan nor an arm.
    """
    ablation = AblationDirectory.read(directory)
    if not ablation.plan and not ablation.arms:
        raise InputError(f"{directory}: holds no ablation (neither plan.yaml nor arms/); name the directory of one")
    views = suites(ablation)
    html = render(page_values(ablation, views))
    try:
        write_csv(directory / "summary.csv", summary_rows(views))
        write_text(directory / "report.html", html)
    except OSError as error:
        raise InputError(f"{directory}: the report cannot be written ({error.strerror})") from error
    return directory / "report.html"


def render(values: Mapping[str, Any]) -> str:
    """Fill the template; every value is escaped, and the only style allowed is the page's own, by its hash."""
    environment = Environment(
        loader=PackageLoader("dynaip.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"figure": _figure, "count": _count, "duration": duration, "breakable": _breakable}
    style = environment.get_template("style.css").render(looks=values["looks"])
    digest = base64.b64encode(hashlib.sha256(style.encode("utf-8")).digest()).decode("ascii")
    return environment.get_template("report.html").render(**values, style=Markup(style), digest=digest)


def page_values(ablation: AblationDirectory, views: list[SuiteView]) -> dict[str, Any]:
    """All values of the page."""
    findings = [view.finding for view in views if view.finding]
    return {
        "title": ablation.title,
        "question": ablation.question,
        "summary": summarise(findings),
        "suites": views,
        "looks": looks(ablation.arms),
        "gallery": gallery(ablation),
        "baselines": _baselines(ablation),
        "trained": _trained(ablation),
        "seeds": sorted({arm.seed for arm in ablation.arms if not arm.baseline}),
        "sections": [_section(*entry) for entry in contents(ablation.path)],
        "failed": [arm for arm in ablation.arms if arm.state == "failed"],
        "unfinished": [arm for arm in ablation.arms if arm.state not in ("failed", "finished")],
        "runs": [(arm, arm.status.get("seconds")) for arm in ablation.arms],
        "timings": stages(ablation),
        "parts": parts(ablation),
        "environment": flatten(ablation.environment),
    }


def _baselines(ablation: AblationDirectory) -> dict[str, str]:
    """What the page says of every column that was not trained in this ablation."""
    notes: dict[str, str] = {}
    for arm in ablation.arms:
        if not arm.baseline:
            continue
        if arm.bare:
            notes[arm.name] = "the base model without any reference: not trained here, sees the prompt only"
        else:
            steps = f"trained for {arm.steps:,} steps" if arm.steps else "trained before"
            notes[arm.name] = f"an adapter trained elsewhere: not trained here, {steps}"
    return notes


def _trained(ablation: AblationDirectory) -> list[int]:
    return sorted({arm.steps for arm in ablation.arms if not arm.baseline and arm.steps})


def _section(name: str, content: SectionContent | None, error: str) -> dict[str, Any]:
    tables = [(caption, read_rows(path), path.name) for caption, path in content.tables] if content else []
    return {
        "name": name.rpartition(":")[2],
        "title": content.title if content else name.rpartition(":")[2].capitalize(),
        "paragraphs": content.lead.split("\n\n") if content else [],
        "figures": _figures(content) if content else [],
        "tables": [(caption, rows[:TABLE_ROWS], len(rows), file) for caption, rows, file in tables if rows],
        "error": error,
        "shown": bool(content or error),
    }


def _figures(content: SectionContent) -> list[tuple[str, str, int | None]]:
    return [(uri, caption, printed_width(path)) for path, caption in content.figures if (uri := figure(path))]


def _figure(value: Any, digits: int = 3) -> str:
    if isinstance(value, float):
        return minus(f"{value:.{digits}f}") if math.isfinite(value) else "–"
    return "–" if value is None else str(value)


def _breakable(name: str) -> Markup:
    """A name that may break after its hyphens and underscores."""
    return escape(name).replace("-", Markup("-<wbr>")).replace("_", Markup("_<wbr>"))


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"
