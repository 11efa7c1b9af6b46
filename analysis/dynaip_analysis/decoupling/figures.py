"""Figures of generations through one branch, both, or neither."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dynaip.ablation.statistics import Estimate
from dynaip.report.style import LIGHT, OKABE_ITO
from dynaip_analysis.decoupling.measure import NEEDS, POLICIES, Comparison, differences
from dynaip_analysis.drawing import canvas

SPOKEN: Mapping[str, str] = {
    "neither": "without a reference",
    "image branch": "through the image branch",
    "text branch": "through the text branch",
    "both branches": "through both",
}


COLOURS: Mapping[str, str] = {
    "neither": LIGHT.quiet,
    "image branch": OKABE_ITO[0],
    "text branch": OKABE_ITO[1],
    "both branches": OKABE_ITO[2],
}


def draw(path: Path, comparison: Comparison) -> Path:
    """Draw CP, PF and leak (or what the run measures instead) by branch with their intervals."""
    table = differences(comparison.scores)
    metrics = list(dict.fromkeys(row["metric"] for row in table))
    branches = [name for name in POLICIES if any(row["branch"] == name for row in table)]
    with canvas.drawing(path, table) as plt:
        size = (3.1 * len(metrics), 0.42 * len(branches) + 1.7)
        figure, axes = plt.subplots(1, len(metrics), figsize=size, layout="constrained", squeeze=False)
        canvas.headline(figure, _kept(table))
        for place, metric in zip(axes[0], metrics, strict=True):
            own = [row for row in table if row["metric"] == metric]
            _panel(place, own, branches)
            place.set_xlim(_range(metric, own))
            place.set_title(canvas.TITLES.get(metric, metric), fontsize=9.5)
        for place in axes[0, 1:]:
            place.set_yticklabels([])
        counts = sorted({row["cases"] for row in table})
        cases = (
            f"{counts[0]} cases"
            if len(counts) == 1
            else f"{counts[0]} to {counts[-1]} cases, those that have the value"
        )
        told = against_both(table)
        canvas.note(figure, f"{told}; paired, with the interval over {cases}" if told else f"means over {cases}")
    return path


def _kept(table: Sequence[Mapping[str, Any]]) -> str:
    """The first metric by branch, in words."""
    metric = table[0]["metric"]
    told = [f"{row['value']:.2f} {SPOKEN[row['branch']]}" for row in table if row["metric"] == metric]
    return f"{'Identity kept (CP)' if metric == 'cp' else canvas.spoken_name(metric)}: {', '.join(told)}"


def against_both(table: Sequence[Mapping[str, Any]]) -> str:
    """What leaving the text branch out at inference does to each metric, in words; nothing without both branches."""
    if not any(row["branch"] == "both branches" for row in table):
        return ""
    own = {row["metric"]: row for row in table if row["branch"] == "image branch"}
    told = [canvas.spoken(metric, own[metric], "difference") for metric in own]
    return f"Image branch alone minus both branches: {', '.join(told)}"


def _range(metric: str, rows: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """The whole scale, so that no small difference looks large: CP and PF from 0 to 1, leak around chance, others as they are."""
    ends = [row[end] for row in rows for end in ("value", "low", "high") if np.isfinite(row[end])]
    if metric == "leak":
        far = max([0.5, *(1.05 * abs(end) for end in ends)])
        return (-far, far)
    if metric in canvas.MAIN or not ends:
        return (-0.04, 1.04)
    margin = 0.1 * (max(ends) - min(ends)) or 0.04
    return (min(ends) - margin, max(ends) + margin)


def _panel(axes: Any, rows: Sequence[Mapping[str, Any]], branches: Sequence[str]) -> None:
    for row in rows:
        at = branches.index(row["branch"])
        colour = COLOURS[row["branch"]]
        axes.plot([row["low"], row["high"]], [at, at], color=colour, linewidth=2, solid_capstyle="round")
        axes.plot(row["value"], at, marker="o", color=colour, markersize=6)
        axes.annotate(
            f"{row['value']:.2f}".replace("-", "−"),
            (row["value"], at),
            xytext=(0, 7),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    axes.set_yticks(range(len(branches)), branches)
    axes.set_ylim(len(branches) - 0.5, -0.75)
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    axes.tick_params(length=0)


def draw_attributes(path: Path, comparison: Comparison) -> Path:
    """Draw what each branch carries, attribute by attribute: identity (CP) beside the reference's context (leak)."""
    found = canvas.estimates(comparison.scores, "branch")
    return canvas.draw_numbers(path, found, "branch", _carried(found), "leak")


def _carried(found: Mapping[str, Mapping[str, Estimate]]) -> str:
    """Which attribute each branch keeps most, and whether any copies the context beyond chance, in words."""
    told: list[str] = []
    for branch in NEEDS:
        kept = {name: it.value for name, it in found.get(branch, {}).items() if name.startswith("cp_")}
        if kept and branch != "both branches":
            most = max(kept, key=lambda name: kept[name])
            told.append(f"{branch} keeps most of all {canvas.short_name(most)} ({kept[most]:.2f})")
    leaks = {branch: found[branch]["leak"] for branch in NEEDS if "leak" in found.get(branch, {})}
    copied = [f"{SPOKEN[branch]} ({it.value:.2f})" for branch, it in leaks.items() if it.decided and it.value > 0]
    if leaks:
        told.append(f"context leaks {', '.join(copied)}" if copied else "no branch leaks context beyond chance")
    text = "; ".join(told)
    return text[:1].upper() + text[1:] if told else "Means of the run's metrics, through each branch"


def draw_strip(path: Path, comparison: Comparison) -> Path:
    """Draw the shown cases: the reference, then the same seed through each branch."""
    names = list(comparison.images)
    shape = (len(names) + 1, len(comparison.cases))
    scored = {(row["branch"], row["case"]): row for row in comparison.scores}
    shown = [
        {"branch": name, "case": case.id, "prompt": case.prompt, **scored.get((name, case.id), {})}
        for name in names
        for case in comparison.cases
    ]
    with canvas.drawing(path, shown) as plt:
        figure, axes = plt.subplots(
            *shape, figsize=(1.15 * shape[1] + 1.3, 1.17 * shape[0] + 0.9), layout="constrained", squeeze=False
        )
        canvas.headline(figure, "What each branch alone makes of a reference: same prompts, same seeds")
        for k, case in enumerate(comparison.cases):
            canvas.show_image(axes[0, k], case.references[0].image)
            axes[0, k].set_title(textwrap.fill(case.prompt, 19), fontsize=6.5, loc="center", pad=4)
            for j, name in enumerate(names):
                canvas.show_image(axes[j + 1, k], comparison.images[name][k])
        for place, name in zip(axes[:, 0], ["reference", *names], strict=True):
            place.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    return path
