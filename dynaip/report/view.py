"""What the page shows, as plain values for the template."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from dynaip.ablation.answer import Finding, find, label
from dynaip.ablation.statistics import Bootstrap, Estimate, collect
from dynaip.errors import DynaIPError
from dynaip.registry import registry
from dynaip.report.directory import AblationDirectory, ShownArm
from dynaip.report.pictures import data_uri
from dynaip.report.plane import PlanePoint, at_night, draw, panels
from dynaip.report.style import BASELINE, arm_colour, arm_marker
from dynaip.scores import RESERVED

SVG = "image/svg+xml"

FIRST = ("cp", "pf")
"""Metrics that stand first wherever there are any; CP·PF is made of both."""


@dataclass(frozen=True)
class Look:
    """How an arm is told apart all through the report."""

    index: int
    colour: str
    marker: str
    baseline: bool


@dataclass(frozen=True)
class TableRow:
    """One arm in the table of a suite."""

    arm: str
    look: Look
    figures: Mapping[str, Estimate]
    """Metric -> figure, in the order of the table; the first is what arms are compared by."""
    seeds: Mapping[int, float]
    """The first metric of each training seed alone."""
    steps: int | None
    parameters: int | None
    best: bool

    def shown(self, parts: frozenset[str]) -> list[Estimate]:
        """Figures of the table of arms: those of attributes (``parts``) have a table of their own."""
        return [figure for metric, figure in self.figures.items() if metric not in parts]

    @property
    def cases(self) -> int:
        """Cases behind the first figure."""
        return self.lead.cases

    @property
    def lead(self) -> Estimate:
        """What arms are compared by."""
        return next(iter(self.figures.values()))


@dataclass(frozen=True)
class SuiteView:
    """Everything the report says about one suite."""

    name: str
    metrics: tuple[str, ...]
    """Columns of the table as they are written; the first is what arms are compared by."""
    rows: tuple[TableRow, ...]
    span: tuple[float, float]
    """Where the bars of the table begin and end: at the arms' own intervals; a baseline beyond them is an arrow."""
    finding: Finding | None
    planes: tuple[tuple[str, str, str], ...]
    """Title, light and dark picture of the CP-PF plane."""
    parts: frozenset[str] = frozenset()
    """Metrics that are attributes of others."""
    subjects: str = ""
    """How many references a case has, in words."""

    @property
    def shown(self) -> list[str]:
        """Columns of the table of arms as they are written."""
        return [name for name in self.metrics if name not in self.parts]


@dataclass(frozen=True)
class Part:
    """A fusion strategy or a policy that arms are named after, in the registry's words."""

    name: str
    role: str
    summary: str


def looks(arms: Sequence[ShownArm]) -> dict[str, Look]:
    """Colour and marker of every arm name, in the order of the plan."""
    found: dict[str, Look] = {}
    own = 0
    for arm in arms:
        if arm.name not in found:
            colour = BASELINE if arm.baseline else arm_colour(own)
            found[arm.name] = Look(len(found), colour, arm_marker(len(found) if arm.baseline else own), arm.baseline)
            own += not arm.baseline
    return found


def suites(ablation: AblationDirectory) -> list[SuiteView]:
    """One view a suite, in the order of the benchmark."""
    style = looks(ablation.arms)
    return [_suite(Bootstrap(scores), ablation, style) for scores in collect(ablation.scores)]


def columns(metrics: Sequence[str]) -> list[str]:
    """Metrics in the order of a table: CP·PF, CP and PF where there are any, then every other one as the scores have it."""
    first = [name for name in FIRST if name in metrics]
    return ["cp_pf"] * (len(first) == 2) + first + [name for name in metrics if name not in FIRST]


def _span(bars: Sequence[Estimate]) -> tuple[float, float]:
    """Where figures and their intervals lie, with a little room on both sides."""
    ends = [end for bar in bars for end in (bar.value, bar.low, bar.high) if math.isfinite(end)]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    room = 0.06 * (high - low) or 0.05
    return low - room, high + room


def is_attribute(metric: str, metrics: Sequence[str]) -> bool:
    """Whether a metric is a part of another one by its name, as ``cp_emblem`` is of ``cp``."""
    return metric not in RESERVED and any(metric.startswith(f"{each}_") for each in metrics if each != metric)


def _suite(boot: Bootstrap, ablation: AblationDirectory, style: Mapping[str, Look]) -> SuiteView:
    metrics = columns([name for name, values in boot.scores.values.items() if np.isfinite(values).any()]) or ["cp_pf"]
    own = [name for name in style if not style[name].baseline]
    finding = find(boot, own, ablation.reference_arm, metrics[0])
    ranking = boot.ranking(own, metrics[0]) + boot.ranking([name for name in style if name not in own], metrics[0])
    others = [name for name in boot.scores.arms if name not in ranking]  # with other metrics than the first
    arms = {arm.name: arm for arm in reversed(ablation.arms)}  # the first of a name
    rows = tuple(
        TableRow(
            arm=name,
            look=style[name],
            figures={metric: boot.estimate(name, metric) for metric in metrics},
            seeds=boot.per_seed(name, metrics[0]),
            steps=arms[name].steps,
            parameters=arms[name].parameters,
            best=finding is not None and name == finding.winner,
        )
        for name in [*ranking, *others]
    )
    return SuiteView(
        boot.scores.suite,
        tuple(label(name) for name in metrics),
        rows,
        _span([row.lead for row in rows if not row.look.baseline] or [row.lead for row in rows]),
        finding,
        tuple(_planes(rows)),
        frozenset(name for name in metrics if is_attribute(name, metrics)),
        _subjects(boot.scores.suite, ablation),
    )


def _subjects(suite: str, ablation: AblationDirectory) -> str:
    counts = sorted({len(case.references) for case in ablation.cases if case.suite == suite})
    if not counts:
        return ""
    span = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"{span} subject{'' if counts == [1] else 's'} a scene"


def parts(ablation: AblationDirectory) -> list[Part]:
    """What the fusion strategies and policies of the arms are, as far as this installation knows them."""
    roles = {"fusion": "a fusion strategy", "decoupling": "a decoupling policy"}
    found: dict[tuple[str, str], Part] = {}
    for arm in ablation.arms:
        for kind, role in roles.items():
            named = arm.config.get(kind)  # ``hmoe`` or ``{use: hmoe, …}``
            use = str((named.get("use") if isinstance(named, dict) else named) or "")  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
            if use and not arm.baseline and (kind, use) not in found:
                with suppress(DynaIPError):
                    component = registry().find(kind, use).component
                    found[kind, use] = Part(component.name, role, component.summary or "without a description")
    return sorted(found.values(), key=lambda part: list(roles.values()).index(part.role))


def _planes(rows: Sequence[TableRow]) -> list[tuple[str, str, str]]:
    points = [
        PlanePoint(row.arm, row.figures["cp"], row.figures["pf"], row.look.colour, row.look.marker, row.look.baseline)
        for row in rows
        if {"cp", "pf"} <= row.figures.keys()
        and math.isfinite(row.figures["cp"].value)
        and math.isfinite(row.figures["pf"].value)
    ]
    if not points:
        return []
    drawn = [(panel.title, draw(panel)) for panel in panels(points)]
    return [(title, data_uri(light, SVG), data_uri(at_night(light), SVG)) for title, light in drawn]


def summary_rows(views: Sequence[SuiteView]) -> list[dict[str, Any]]:
    """The figures of all tables as tidy rows: suite, arm, metric, value, low, high, cases."""
    return [
        {
            "suite": view.name,
            "arm": row.arm,
            "metric": metric,
            "value": it.value,
            "low": it.low,
            "high": it.high,
            "cases": it.cases,
        }
        for view in views
        for row in view.rows
        for metric, it in row.figures.items()
    ]


def duration(seconds: float | None) -> str:
    """Seconds as people say them: ``42 s``, ``3 min 5 s``, ``1 h 12 min``."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def stages(ablation: AblationDirectory) -> list[tuple[str, Any]]:
    """What took how long, beside the arms: trainings by the arms they serve, analyses, everything."""
    served: dict[str, list[str]] = {}
    for arm in ablation.arms:
        if arm.training:
            served.setdefault(arm.training.name, []).append(arm.name)
    rows: list[tuple[str, Any]] = []
    for name, value in flatten({key: value for key, value in ablation.timings.items() if key != "arms"}):
        kind, _, training = name.rpartition(" · ")
        arms = ", ".join(dict.fromkeys(served.get(training, [])))
        rows.append((f"training for {arms}" if kind and arms else name, value))
    return rows


def flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested mappings as rows of dotted name and value; a list becomes its words."""
    rows: list[tuple[str, Any]] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            rows += flatten(value, f"{name} · ")  # pyright: ignore[reportUnknownArgumentType]
        else:
            rows.append((name, " ".join(map(str, value)) if isinstance(value, list) else value))  # pyright: ignore[reportUnknownArgumentType]
    return rows
