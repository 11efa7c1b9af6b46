"""Figures of generations over a sweep of fusion coefficients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from dynaip.ablation.statistics import Estimate
from dynaip.report.style import LIGHT, arm_colour, arm_marker
from dynaip_analysis.drawing import canvas
from dynaip_analysis.granularity.measure import WITHOUT, GammaSweep, curve_rows, rows


def draw_strip(path: Path, sweep: GammaSweep) -> Path:
    """Draw the shown cases under every setting, with the mean CP and PF of the setting over all cases."""
    found = canvas.estimates(sweep.scores, "setting")
    shape = (len(sweep.references), len(sweep.settings) + 1)
    with canvas.drawing(path, rows(sweep)) as plt:
        size = (1.12 * shape[1] + 0.2, 1.16 * shape[0] + 1.0)
        figure, axes = plt.subplots(*shape, figsize=size, layout="constrained", squeeze=False)
        canvas.headline(figure, "The same seeds with other fusion coefficients: what each level carries over")
        for k, reference in enumerate(sweep.references):
            canvas.show_image(axes[k, 0], reference, "reference" if k == 0 else "")
            for j, setting in enumerate(sweep.settings):
                own = found.get(setting.name, {})
                means = [f"{metric.upper()} {own[metric].value:.2f}" for metric in ("cp", "pf") if metric in own]
                title = "\n".join([setting.name, *means]) if k == 0 else ""
                canvas.show_image(axes[k, j + 1], sweep.images[setting.name][k], title)
    return path


def draw_attributes(path: Path, sweep: GammaSweep) -> Path:
    """Draw CP of every attribute, and the other scores, under every setting."""
    found = canvas.estimates(sweep.scores, "setting")
    return canvas.draw_numbers(path, found, "setting", _kept(found))


def _kept(found: Mapping[str, Mapping[str, Estimate]]) -> str:
    """CP as routed, through each level alone and without a reference, in words."""
    told = [
        f"{name} {found[name]['cp'].value:.2f}" for name in found if name.endswith(" alone") and "cp" in found[name]
    ]
    if not told:
        return "Means of the run's metrics, by setting"
    routed, without = (f"{found[name]['cp'].value:.2f} {name}" for name in ("as routed", WITHOUT))
    return f"Identity kept (CP): {routed}; {', '.join(told)}; {without}"


def draw_curves(path: Path, sweep: GammaSweep) -> Path:
    """Draw CP of every attribute over the coefficient of one level, one panel a level, with 95 % intervals."""
    found = canvas.estimates(sweep.scores, "setting")
    table = curve_rows(sweep, found)
    levels = list(dict.fromkeys(row["level"] for row in table if row["level"]))
    metrics = canvas.shown_metrics(list(dict.fromkeys(row["metric"] for row in table)))
    # Metrics without a scale in common have a row of panels each.
    common = any(metric.partition("_")[0] in canvas.MAIN for metric in metrics)
    lines = [metrics] if common else [[metric] for metric in metrics]
    with canvas.drawing(path, table) as plt:
        size = (2.9 * len(levels) + 1.3, 0.6 + 2.6 * len(lines))
        figure, axes = plt.subplots(
            len(lines), len(levels), figsize=size, layout="constrained", squeeze=False, sharey="row"
        )
        canvas.headline(figure, _moved(table))
        for place, (line, level) in zip(axes.flat, product(lines, levels), strict=True):
            shown = [row for row in table if row["metric"] in line]
            for k, metric in enumerate(line):
                own = [row for row in shown if row["level"] == level and row["metric"] == metric]
                _curve(place, sorted(own, key=lambda row: row["gamma"]), metric, k, len(line))
            gammas = sorted({row["gamma"] for row in table if row["level"]})
            place.set_xscale("log", base=2)
            place.set_xticks(gammas, [f"{gamma:.3g}" for gamma in gammas], fontsize=8)
            place.minorticks_off()
            place.axvline(1, color=LIGHT.line, linewidth=3, zorder=0)
            for row in (row for row in shown if row["setting"] == WITHOUT and row["metric"] == line[0]):
                name = f"{canvas.spoken_name(line[0])}, {WITHOUT}"
                place.axhline(row["value"], color=LIGHT.ink, linewidth=1, linestyle=":", label=name)
            place.set_xlabel(f"coefficient of {level}")
            if common:
                place.set_ylim(min([-0.05, *(row["low"] - 0.02 for row in shown if np.isfinite(row["low"]))]), 1.05)
            place.set_title(level, fontsize=9.5)
        for first, last in zip(axes[:, 0], axes[:, -1], strict=True):
            first.set_ylabel("mean score")
            last.legend(fontsize=7.5, loc="center left", bbox_to_anchor=(1.02, 0.5), handlelength=1.5)
    return path


def _curve(axes: Any, rows: Sequence[Mapping[str, Any]], metric: str, place: int, count: int) -> None:
    whole = metric in ("cp", "pf", "leak")
    colour = LIGHT.ink if metric == "cp" else LIGHT.quiet if whole else arm_colour(place)
    shift = 1 + 0.05 * (place - count / 2)  # so that intervals stand beside each other
    x = np.array([row["gamma"] for row in rows]) * shift
    axes.vlines(x, [row["low"] for row in rows], [row["high"] for row in rows], color=colour, alpha=0.35, linewidth=1)
    label = canvas.spoken_name(metric)
    style = "--" if metric in ("pf", "leak") else "-"
    axes.plot(x, [row["value"] for row in rows], color=colour, marker=arm_marker(place), markersize=4,
              linewidth=2.2 if metric == "cp" else 1.2, linestyle=style, label=label)  # fmt: skip


def _moved(rows: Sequence[Mapping[str, Any]]) -> str:
    """The attribute that a coefficient moves most, and whether that is more than chance."""
    moved = [row for row in rows if row["moved"] is not None]
    if not moved:
        return "Scores over the coefficient of each level"
    most = max(moved, key=lambda row: row["moved"])
    limit = most["moved_by_chance"]
    if most["moved"] == 0:
        return "No coefficient moves the mean of any attribute"
    told = "more than" if most["moved"] > limit else "no more than"
    return (
        f"The coefficient of {most['level']} moves {canvas.short_name(most['metric'])} most: by {most['moved']:.2f}, "
        f"{told} chance ({limit:.2f})"
    )
