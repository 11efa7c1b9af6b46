"""Figures of judges: how alike they rank, how they order arms, and who knows a case's own reference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dynaip.ablation.answer import minus
from dynaip.report.style import LIGHT
from dynaip_analysis.drawing import canvas
from dynaip_analysis.judges.measure import Agreement, Recognition, Verdicts, told
from dynaip_analysis.judges.survival import Survival


def draw(
    path: Path, found: Sequence[Agreement], *, arms: Sequence[Verdicts] = (), known: Sequence[Recognition] = (),
    differences: Sequence[Survival] = (),
) -> Path:  # fmt: skip
    """Draw rank correlations, and beside them the order of arms or who knows an image's own case.

    ``differences`` stand in the table alone.
    """
    judges = list(dict.fromkeys(name for each in found for name in (each.one, each.other)))
    rows = [each.row() for each in (*found, *arms, *known, *differences)]
    with canvas.drawing(path, rows) as plt:
        size = (2 * (0.95 * len(judges) + 1.1), 0.62 * len(judges) + 1.9)
        figure, (left, right) = plt.subplots(1, 2, figsize=size, layout="constrained")
        canvas.headline(figure, headline(found, arms, known))
        _correlations(left, found, judges)
        if arms:
            _order(right, arms, judges)
        else:
            _known(right, known)
        canvas.note(figure, _reading(bool(arms)))
    return path


def headline(found: Sequence[Agreement], arms: Sequence[Verdicts], known: Sequence[Recognition]) -> str:
    """What to see, in words."""
    decided = [each for each in arms if each.alike + each.opposed]
    if decided:
        most, least = (pick(decided, key=lambda each: (each.share, each.alike)) for pick in (max, min))
        return f"Pairs of arms that two judges both tell apart: {_ordered(most, most.alike, 'alike')}" + (
            f", {_ordered(least, least.opposed, 'the other way round')}" if least.opposed else ""
        )
    if arms:
        return "No two judges both tell two arms apart"
    if known:
        parts = ", ".join(f"{told(each.judge)} {each.value:.2f}" for each in known)
        return f"How often a judge gives an image more for its own case than for another one: {parts}"
    return "How alike judges rank the same images"


def _ordered(each: Verdicts, count: int, how: str) -> str:
    return f"{told(each.one)} and {told(each.other)} order {count} of {each.alike + each.opposed} {how}"


def _correlations(axes: Any, found: Sequence[Agreement], judges: Sequence[str]) -> None:
    values = np.full((len(judges), len(judges)), np.nan)
    for each in found:
        i, j = judges.index(each.other), judges.index(each.one)
        values[i, j] = each.rho
    axes.imshow(values, cmap=canvas.DIVERGING, vmin=-1, vmax=1, interpolation="nearest", aspect="auto")
    for each in found:
        i, j = judges.index(each.other), judges.index(each.one)
        clear = np.abs(each.rho) > each.limit
        tone = "white" if abs(each.rho) > 0.5 else LIGHT.ink
        text = minus(f"{each.rho:z.2f}") if np.isfinite(each.rho) else "–"
        interval = minus(f"{each.low:z.2f} to {each.high:z.2f}") if np.isfinite(each.low) else ""
        weight = "bold" if clear else "normal"
        axes.text(j, i - 0.12, text, ha="center", va="center", fontsize=9, color=tone, fontweight=weight)
        axes.text(j, i + 0.24, interval, ha="center", va="center", fontsize=6.5, color=tone)
    _names(axes, judges)
    axes.set_title("Rank correlation over cases", fontsize=9.5)


def _order(axes: Any, found: Sequence[Verdicts], judges: Sequence[str]) -> None:
    values = np.full((len(judges), len(judges)), np.nan)
    for each in found:
        values[judges.index(each.other), judges.index(each.one)] = each.share
    axes.imshow(values, cmap=canvas.DIVERGING, vmin=-1, vmax=1, interpolation="nearest", aspect="auto")
    for each in found:
        i, j = judges.index(each.other), judges.index(each.one)
        tone = "white" if abs(values[i, j]) > 0.5 else LIGHT.ink
        axes.text(j, i - 0.12, f"{each.alike} : {each.opposed}", ha="center", va="center", fontsize=9, color=tone)
        axes.text(j, i + 0.24, f"of {each.pairs}", ha="center", va="center", fontsize=6.5, color=tone)
    _names(axes, judges)
    axes.set_title("Pairs of arms, alike : opposed", fontsize=9.5)


def _names(axes: Any, judges: Sequence[str]) -> None:
    """The lower triangle: the last judge has no column, the first no row."""
    names = [told(judge) for judge in judges]
    axes.set_xticks(range(len(names) - 1), names[:-1], fontsize=8)
    axes.set_yticks(range(1, len(names)), names[1:], fontsize=8)
    axes.set(xlim=(-0.5, len(names) - 1.5), ylim=(len(names) - 0.5, 0.5))
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _known(axes: Any, found: Sequence[Recognition]) -> None:
    for row, each in enumerate(found):
        axes.plot([each.low, each.high], [row, row], color=LIGHT.ink, linewidth=2, solid_capstyle="round")
        axes.plot(each.value, row, marker="o", color=LIGHT.ink, markersize=6)
        axes.annotate(
            f"{each.value:.2f}", (each.value, row), xytext=(0, 7), textcoords="offset points", ha="center", fontsize=8
        )
    axes.axvline(0.5, color=LIGHT.quiet, linewidth=1, linestyle=(0, (3, 2)), zorder=0)
    axes.set_yticks(range(len(found)), [told(each.judge) for each in found], fontsize=8)
    axes.set(xlim=(-0.04, 1.04), ylim=(len(found) - 0.5, -0.75), xlabel="own case preferred; dashed: chance")
    axes.set_title("Own case against another", fontsize=9.5)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _reading(arms: bool) -> str:
    null = "bold: beyond what 95 % of shuffles reach; intervals: cases drawn again. Right: "
    if arms:
        return null + "pairs of arms whose 95 % interval excludes zero for both judges, summed over suites"
    return (
        null
        + "another case of a subject of the same name; a judge at chance sees no difference (leak: nothing is copied)"
    )
