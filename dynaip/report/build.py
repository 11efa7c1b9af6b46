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

from dynaip.ablation.answer import label, minus, summarise
from dynaip.ablation.effects import Effects, answer, effects
from dynaip.ablation.statistics import Estimate, collect, metrics_of
from dynaip.atomic import check_file, write_text
from dynaip.contracts.section import SectionContent
from dynaip.errors import InputError
from dynaip.notes import tell
from dynaip.paths import missing
from dynaip.plain import plain
from dynaip.reading import table
from dynaip.report.damage import damage
from dynaip.report.directory import AblationDirectory
from dynaip.report.exports import write_tables
from dynaip.report.gallery import gallery
from dynaip.report.joined import join
from dynaip.report.pictures import figure, printed_width
from dynaip.report.sections import contents
from dynaip.report.tables import write_csv
from dynaip.report.tabulated import arm_tables, attribute_tables, cost_table, effect_tables
from dynaip.report.view import SuiteView, columns, duration, flatten, looks, parts, stages, suites, summary_rows
from dynaip.statistics.hierarchical import Gap

COPIED = "leak"
"""A metric that every axis is asked about beside the first: what came over from references and should not have."""
DAMAGE_LINES = 20
"""More lines about damaged files are counted only."""
TABLE_ROWS = 60
"""Longer tables of sections are cut in the page; their file has all rows."""


def build_report(directory: Path, *others: Path, out: Path | None = None) -> Path:
    """Write `report.html`, `summary.csv` and `tables/` into the directory of an ablation, finished or not; give the page's path.

    With ``others`` the arms of several ablations stand in one report, which goes to ``out``. Raises ``InputError`` if a
    directory holds neither a plan nor an arm, or if they were judged on other cases.
    """
    for each in (directory, *others):
        _check(each)
    check_file((out or directory) / "report.html")
    ablation = join([directory, *others], out or directory) if others else AblationDirectory.read(directory)
    lines = damage(ablation)
    views = suites(ablation)
    values = page_values(ablation, views, lines)
    for line in (*lines, *(line for section in values["sections"] for line in section["damage"])):
        tell(line, kind="report")
    html, folder = render(values), out or directory
    try:
        write_csv(folder / "summary.csv", summary_rows(views))
        write_tables(folder, values["exports"])
        write_text(folder / "report.html", html)
    except OSError as error:
        raise InputError(f"{folder}: the report cannot be written ({error.strerror})") from error
    return folder / "report.html"


def _check(directory: Path) -> None:
    if not directory.is_dir():
        raise InputError(f"{directory}: there is no such folder.{missing(directory)}")
    ablation = AblationDirectory.read(directory)
    if not ablation.plan and not ablation.arms:
        lines = damage(ablation)
        why = lines[0] if lines else "neither plan.yaml nor arms/; name the directory of one"
        raise InputError(f"{directory}: holds no ablation ({why})")


def render(values: Mapping[str, Any]) -> str:
    """Fill the template; every value is escaped, and the only style allowed is the page's own, by its hash."""
    environment = Environment(
        loader=PackageLoader("dynaip.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests |= {
        "estimate": lambda value: isinstance(value, (Estimate, Gap)),
        "difference": lambda value: isinstance(value, Gap),
    }
    environment.filters |= {"figure": _figure, "count": _count, "duration": duration, "breakable": _breakable}
    style = environment.get_template("style.css").render(looks=values["looks"])
    digest = base64.b64encode(hashlib.sha256(style.encode("utf-8")).digest()).decode("ascii")
    return environment.get_template("report.html").render(**values, style=Markup(style), digest=digest)


def page_values(ablation: AblationDirectory, views: list[SuiteView], lines: list[str]) -> dict[str, Any]:
    """All values of the page; ``lines`` tell what cannot be shown."""
    findings = [view.finding for view in views if view.finding]
    metrics = columns(metrics_of(ablation.scores))
    lead = findings[0].metric if findings else "cp_pf"
    found = _effects(ablation, lead)
    told, attributes, cost = answer(found), attribute_tables(views), cost_table(ablation, views)
    tables = effect_tables(found)
    if COPIED in metrics and lead != COPIED:
        copied = _effects(ablation, COPIED)
        told, tables = [*told, *answer(copied, clear=True)], [*tables, *effect_tables(copied, beside=True)]
    return {
        "title": ablation.title,
        "question": ablation.question,
        "summary": summarise(findings),
        "effects": told,
        "effect_tables": tables,
        "attributes": attributes,
        "cost": cost,
        "exports": [*tables, *arm_tables(views), *attributes, *([cost] if cost else [])],
        "suites": views,
        "looks": looks(ablation.arms),
        "compared": label(lead),
        "metrics": metrics,
        "damage": lines[:DAMAGE_LINES],
        "more_damage": max(0, len(lines) - DAMAGE_LINES),
        "gallery": gallery(ablation, ("cp", "pf") if "cp_pf" in metrics else metrics[:1]),
        "baselines": _baselines(ablation),
        "trained": sorted({arm.steps for arm in ablation.arms if not arm.baseline and arm.steps}),
        "seeds": sorted({arm.seed for arm in ablation.arms if not arm.baseline}),
        "sections": [_section(*entry) for entry in contents(ablation.path)],
        "failed": [arm for arm in ablation.arms if arm.state == "failed"],
        "unfinished": [arm for arm in ablation.arms if arm.state not in ("failed", "finished")],
        "runs": [(arm, arm.seconds) for arm in ablation.arms],
        "timings": stages(ablation),
        "parts": parts(ablation),
        "environment": flatten(ablation.environment),
    }


def _effects(ablation: AblationDirectory, metric: str) -> Effects:
    """What the axes do, read from the configs of the arms that have scores."""
    configs = {arm.name: arm.config for arm in ablation.arms if not arm.baseline and arm.scores}
    return effects(collect(ablation.scores), configs, metric)


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


def _section(name: str, content: SectionContent | None, error: str) -> dict[str, Any]:
    """A section's figures and tables, and a line for each that cannot be shown."""
    figures: list[Any] = []
    tables: list[Any] = []
    lines: list[str] = []
    for path, caption in content.figures if content else ():
        try:
            figures.append((figure(path), caption, printed_width(path)))
        except InputError as damaged:
            lines.append(str(damaged))
    for caption, path in content.tables if content else ():
        try:
            rows = table(path)
        except InputError as damaged:
            lines.append(str(damaged))
            continue
        if rows:
            tables.append((caption, rows[:TABLE_ROWS], len(rows), path.name))
    return {
        "name": name.rpartition(":")[2],
        "title": content.title if content else name.rpartition(":")[2].capitalize(),
        "paragraphs": content.lead.split("\n\n") if content else [],
        "figures": figures,
        "tables": tables,
        "damage": lines,
        "error": error,
        "shown": bool(content or error),
    }


def _printable(value: Any) -> Any:
    """Text whose control characters are written out; they would be lost, or turn a line around."""
    return plain(value) if type(value) is str and not value.isprintable() else value


def _figure(value: Any, digits: int = 3, sign: str = "") -> str:
    if isinstance(value, float):
        if 0 < abs(value) < 10**-digits / 2:
            return f"{'−' if value < 0 else ''}<{10**-digits:g}" if not sign else minus(f"{value:{sign}.{digits}f}")
        return minus(f"{value:{sign}.{digits}f}") if math.isfinite(value) else "–"
    return "–" if value is None else str(value)


def _breakable(name: str) -> Markup:
    """A name that may break after its hyphens and underscores."""
    return escape(_printable(name)).replace("-", Markup("-<wbr>")).replace("_", Markup("_<wbr>"))


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"
