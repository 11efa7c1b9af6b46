"""The report's tables as plain rows: effects first, then arms, their attributes, and what everything cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dynaip.ablation.answer import label
from dynaip.ablation.effects import AxisEffect, Effects, InteractionEffect
from dynaip.reading import last_entry
from dynaip.report.directory import AblationDirectory, ShownArm
from dynaip.report.exports import ReportTable
from dynaip.report.view import SuiteView, is_attribute


def _said(effect: AxisEffect | InteractionEffect) -> str:
    """A verdict as the table writes it."""
    if effect.verdict == "open":
        return "not after correction" if effect.gap.decided else "not told apart"
    return effect.verdict


def effect_tables(found: Effects, *, beside: bool = False) -> list[ReportTable]:
    """Main effects and interactions, one row a suite and contrast; none where nothing can be compared.

    Tables of a metric ``beside`` the first one have it in their names.
    """
    tables: list[ReportTable] = []
    name, kind = label(found.metric), f"-{found.metric}" if beside else ""
    if found.main:
        parts = tuple(found.main[0].parts)
        columns = ("axis", "compared", "suite", f"{name} difference", "p (Holm)", "verdict",
                   *(f"{label(part)} difference" for part in parts), "pairs of arms", "cases")  # fmt: skip
        rows = tuple(
            (each.contrast.axis, f"{each.contrast.level} − {each.contrast.other}", each.suite, each.gap, each.adjusted,
             _said(each), *(each.parts[part] for part in parts), len(each.contrast.pairs), each.gap.cases)
            for each in found.main
        )  # fmt: skip
        tables.append(
            ReportTable(f"effects{kind}", f"What each axis does to {name}, paired, with 95 % intervals", columns, rows)
        )
    if found.between:
        columns = ("compared", "under", "suite", f"change of the {name} difference", "p (Holm)", "verdict")
        rows = tuple(
            (f"{one.first.level} − {one.first.other}", f"{one.level} in place of {one.other}", each.suite, each.gap,
             each.adjusted, _said(each))
            for each in found.between for one in [each.interaction]
        )  # fmt: skip
        tables.append(
            ReportTable(
                f"interactions{kind}",
                f"Interactions: does one axis act differently on {name} under another?",
                columns,
                rows,
            )
        )
    return tables


def arm_tables(views: Sequence[SuiteView]) -> list[ReportTable]:
    """Every arm of a suite with its figures, parts of metrics left out."""
    tables: list[ReportTable] = []
    for view in views:
        metrics = [name for name in _metrics(view) if not is_attribute(name, _metrics(view))]
        columns = ("arm", *map(label, metrics), "cases", "steps", "parameters")
        rows = tuple(
            (row.arm, *(row.figures[name] for name in metrics), row.cases, row.steps, row.parameters)
            for row in view.rows
        )
        tables.append(ReportTable(f"arms-{view.name}", f"Arms in {view.name}, with 95 % intervals", columns, rows))
    return tables


def attribute_tables(views: Sequence[SuiteView]) -> list[ReportTable]:
    """Every arm of a suite by the attributes that its metrics are made of; none for metrics without parts."""
    tables: list[ReportTable] = []
    for view in views:
        metrics = [name for name in _metrics(view) if is_attribute(name, _metrics(view))]
        if metrics:
            rows = tuple((row.arm, *(row.figures[name] for name in metrics)) for row in view.rows)
            caption = f"{view.name}: the attributes that the metrics are made of"
            tables.append(ReportTable(f"attributes-{view.name}", caption, ("arm", *metrics), rows))
    return tables


def _metrics(view: SuiteView) -> list[str]:
    return list(view.rows[0].figures) if view.rows else []


def cost_table(ablation: AblationDirectory, views: Sequence[SuiteView]) -> ReportTable | None:
    """What every arm cost, beside its first figure in each suite; None where no arm tells how long it took."""
    figures = {(row.arm, view.name): row.lead for view in views for row in view.rows}
    lead = views[0].metrics[0] if views else ""
    rows: list[tuple[Any, ...]] = []
    for arm in ablation.arms:
        trained = _training(arm)
        if arm.seconds is not None or trained is not None:
            quality = (figures.get((arm.name, view.name)) for view in views)
            hours = [None if seconds is None else seconds / 3600 for seconds in (trained, arm.seconds)]
            rows.append((arm.name, arm.seed, *quality, *hours, _memory(arm), arm.status.get("device")))
    if not rows:
        return None
    columns = ("arm", "seed", *(f"{lead} {view.name}" for view in views), "training, hours", "evaluation, hours",
               "peak memory, GB", "on")  # fmt: skip
    return ReportTable("cost", "What an arm costs, beside what it gives", columns, tuple(rows))


def _training(arm: ShownArm) -> float | None:
    """Seconds of the training that serves an arm; arms may share one."""
    found = last_entry(arm.training / "metrics.jsonl").get("seconds") if arm.training else None
    return float(found) if isinstance(found, (int, float)) else None


def _memory(arm: ShownArm) -> float | None:
    """The most memory that the process had which trained and evaluated it."""
    found = arm.status.get("memory_gb")
    return float(found) if isinstance(found, (int, float)) else None
