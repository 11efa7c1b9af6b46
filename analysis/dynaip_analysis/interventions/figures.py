"""The figure of a sweep of interventions: effects by block and step, with what stands out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from dynaip.report.style import LIGHT
from dynaip.statistics.intervals import FEWEST
from dynaip_analysis.drawing import canvas
from dynaip_analysis.interventions.measure import CHANGE, Sweep, effects


def drawn_metrics(names: Sequence[str], kind: str) -> list[str]:
    """CP, PF and leak (for a swap also CP of the other reference) where they are measured, else up to three others.

    The first one is what the title speaks of.
    """
    main = canvas.main_metrics([name for name in names if name != CHANGE and not name.startswith("other_")]) or [CHANGE]
    return [*main, *(f"other_{main[0]}" for _ in range(kind == "swap" and f"other_{main[0]}" in names))]


NAMES = {
    "cp": "CP", "pf": "PF", "leak": "leak", "change": "the pixels", "other_cp": "CP of the other reference",
    "clip_i": "CLIP-I", "clip_t": "CLIP-T", "other_clip_i": "CLIP-I of the other",
}  # fmt: skip


VERBS = {"drop": "Dropping", "scale": "Scaling", "swap": "Swapping"}


def draw(path: Path, found: Sweep) -> Path:
    """Draw what the intervention at each block and window does to each metric, with the null beside the colours."""
    rows = effects(found)
    metrics = drawn_metrics(canvas.metric_names(found.scores), found.kind)
    branches = list(dict.fromkeys(cell.branch for cell in found.cells))
    blocks = list(dict.fromkeys(cell.block for cell in found.cells))
    shape = (len(branches), len(metrics))
    own_scales = metrics[0] not in canvas.MAIN
    width = max((0.64 * len(found.windows) + 0.75 + own_scales) * shape[1], 4.6)
    size = (width + 1.4, (0.4 * len(blocks) + 1.2) * shape[0] + 0.9)
    with canvas.drawing(path, rows) as plt:
        figure, axes = plt.subplots(*shape, figsize=size, layout="constrained", squeeze=False)
        canvas.headline(figure, headline(rows, metrics[0], found.kind))
        for (i, branch), (j, metric) in product(enumerate(branches), enumerate(metrics)):
            own = [row for row in rows if row["branch"] == branch and row["metric"] == metric]
            drawn = _panel(axes[i, j], own, found, _scale(rows, metrics, metric), j == 0)
            untouched = "" if metric == CHANGE else f" ({own[0]['untouched']:.2f} untouched)".replace("-", "−")
            axes[i, j].set_title(f"{NAMES.get(metric, metric)}{untouched}", fontsize=9)
            if j == len(metrics) - 1 or own_scales:
                canvas.scale_bar(figure, drawn, axes[i, j], "difference to untouched")
        for line, branch in zip(axes, branches, strict=True):
            line[0].set_ylabel(f"{branch} branch", color=canvas.BRANCH_COLOURS[branch], fontsize=9)
        canvas.note(figure, _reading(rows, metrics[0]))
    return path


def _scale(rows: Sequence[Mapping[str, Any]], metrics: Sequence[str], metric: str) -> float:
    """Half of the colour scale: one for all panels where metrics share their unit, else one a metric."""
    alike = metrics if metrics[0] in canvas.MAIN else [metric]
    return max([abs(row["effect"]) for row in rows if row["metric"] in alike and np.isfinite(row["effect"])] + [1e-3])


def _reading(rows: Sequence[Mapping[str, Any]], metric: str) -> str:
    """How to read the numbers: what stands out, and from what."""
    row = next(row for row in rows if row["metric"] == metric)
    if row["cases"] < 2:
        return "one case: no intervals, and nothing to tell an effect from chance by"
    small = f"{row['cases']} cases; small: 95 % interval over cases of each cell alone"
    if metric == CHANGE:
        return f"{small}; 0 is what a term without any effect gives"
    if row["null_cases"] < row["cases"]:
        small += f"; chance by the {row['null_cases']} that have a value in every cell"
    if row["null_cases"] < FEWEST:
        return f"{small}; fewer than {FEWEST} cases cannot tell any cell from chance"
    return (
        f"{small}; bold: |t| beyond what chance gives the largest cell of a metric in 95 % of sweeps "
        f"({row['null']:.1f} for {NAMES.get(metric, metric)}; signs flipped by case)"
    )


def headline(rows: Sequence[Mapping[str, Any]], metric: str, kind: str) -> str:
    """Where the effect on a metric is largest among what stands out from chance, in words."""
    own = [row for row in rows if row["metric"] == metric]
    single = [row for row in own if row["block"] >= 0 and row["window"] >= 0]
    clear = [row for row in single if row["stands_out"] or not np.isfinite(row["null"])]
    name, verb = NAMES.get(metric, metric), f"{VERBS[kind]} the reference term"
    verb += f" by {own[0]['factor']:g}" if kind == "scale" else ""
    if not clear:
        told = f"{verb} in one block and window changes {name} by no more than {own[0]['cases']} cases tell from chance"
        wider = [row for row in own if row["stands_out"]]
        return f"{told}; {_wider(wider)}" if wider else told
    largest = max(clear, key=lambda row: abs(row["effect"]))
    if largest["effect"] == 0:
        return f"{verb} in one block and window does not change {name}"
    return (
        f"{verb} changes {name} most in block {largest['block']}, {largest['branch']} branch, at progress "
        f"{largest['from']:.2f} to {largest['to']:.2f} ({_number(largest['effect'], 2 if abs(largest['effect']) >= 0.1 else 3)})"
    )


def _wider(rows: Sequence[Mapping[str, Any]]) -> str:
    """What stands out only over all steps or blocks: a single block before all of them."""
    chosen = max(rows, key=lambda row: (row["block"] >= 0, row["window"] >= 0, abs(row["effect"])))
    block = f"block {chosen['block']}" if chosen["block"] >= 0 else "all blocks"
    window = "all steps" if chosen["window"] < 0 else f"progress {chosen['from']:.2f} to {chosen['to']:.2f}"
    return f"in {block} of the {chosen['branch']} branch over {window} it does ({_number(chosen['effect'], 2)})"


def _panel(axes: Any, rows: Sequence[Mapping[str, Any]], found: Sweep, high: float, first: bool) -> Any:
    blocks = list(dict.fromkeys(cell.block for cell in found.cells))
    table = {(row["block"], row["window"]): row for row in rows}
    columns = [*range(len(found.windows)), None]
    cells = [
        [table[-1 if block is None else block, -1 if window is None else window] for window in columns]
        for block in blocks
    ]
    values = np.array([[cell["effect"] for cell in line] for line in cells])
    drawn = axes.imshow(values, cmap=canvas.DIVERGING, vmin=-high, vmax=high, aspect="auto", interpolation="nearest")
    digits = 2 if high >= 0.1 else 3
    for (i, j), value in np.ndenumerate(values):
        cell, ink = cells[i][j], _ink(value, high, cells[i][j]["stands_out"])
        sure = not cell["low"] < cell["high"]  # one case, or no case that changes at all
        axes.text(j, i if sure else i - 0.13, _number(value, digits), ha="center", va="center", fontsize=7.5,
                  fontweight="bold" if cell["stands_out"] else "normal", color=ink)  # fmt: skip
        if not sure:
            interval = f"{_number(cell['low'], digits)} to {_number(cell['high'], digits)}"
            axes.text(j, i + 0.26, interval, ha="center", va="center", fontsize=5, color=ink)
    axes.set_xticks(range(len(columns)), [*(f"{low:.2f}" for low, _ in found.windows), "all"], fontsize=7.5)
    axes.set_yticks(
        range(len(blocks)), ["all" if b is None else str(b) for b in blocks] if first else [""] * len(blocks)
    )
    axes.axhline(len(blocks) - 1.5, color="white", linewidth=2.5)
    axes.axvline(len(columns) - 1.5, color="white", linewidth=2.5)
    axes.set_xlabel("window from progress", fontsize=8)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return drawn


def _number(value: float, digits: int) -> str:
    rounded = f"{value:+.{digits}f}".replace("-", "−")
    return rounded[1:] if float(rounded[1:]) == 0 else rounded


def _ink(value: float, high: float, strong: bool) -> str:
    if abs(value) > 0.6 * high:
        return "white"
    return LIGHT.ink if strong or abs(value) > 0.25 * high else LIGHT.quiet
