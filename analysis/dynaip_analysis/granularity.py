"""What each encoder level preserves: generations with one level alone, and over a sweep of fusion coefficients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from dynaip.ablation.statistics import Bootstrap, Estimate, collect
from dynaip.report.style import LIGHT, arm_colour, arm_marker
from dynaip_analysis import figures

GAMMAS = (0.5, 2.0, 4.0)


@dataclass(frozen=True)
class Setting:
    """One set of fusion coefficients, gamma of every level."""

    name: str
    coefficients: Mapping[str, float]


def settings(levels: Sequence[str], gammas: Sequence[float] = GAMMAS) -> list[Setting]:
    """The router's own choice, each level alone (one-hot), then each level weighed with every gamma."""
    even = dict.fromkeys(levels, 1.0)
    own = [Setting("as routed", even)]
    alone = [Setting(f"{level} alone", {**dict.fromkeys(levels, 0.0), level: 1.0}) for level in levels]
    weighed = [
        Setting(f"{level} × {gamma:g}", {**even, level: gamma}) for level in levels for gamma in gammas if gamma != 1
    ]
    return own + alone + weighed


def check_steering(dyna: Any, image: Image.Image) -> None:
    """Raise the fusion's own ``ConfigError`` now if it refuses coefficients, not at the first pass of a generation."""
    fusion, first = dyna.fusion, next(iter(dyna.encoder.levels))
    width = dyna.model_signature["condition_width"] if getattr(fusion, "uses_condition", False) else None
    condition = None if width is None else torch.zeros(1, int(width))
    with torch.no_grad():
        dyna.fuse(dyna.features([image]), coefficients={first: 2.0}, condition=condition)


def curves(levels: Sequence[str], gammas: Sequence[float]) -> list[Setting]:
    """The router's own choice, and every level weighed with every gamma: what ``draw_curves`` draws."""
    alone = {f"{level} alone" for level in levels}
    return [each for each in settings(levels, gammas) if each.name not in alone]


@dataclass(frozen=True)
class Sweep:
    """Generations of the same cases under several settings, with their scores."""

    settings: Sequence[Setting]
    references: Sequence[Image.Image]
    """Of the cases that are shown."""
    prompts: Sequence[str]
    images: Mapping[str, Sequence[Image.Image]]
    """Setting -> images of the cases that are shown."""
    scores: Sequence[Mapping[str, Any]]
    """One row a setting and case: setting, case, and the metrics' columns."""


def rows(sweep: Sweep) -> list[dict[str, Any]]:
    """Tidy rows: setting, gamma of every level, case, metrics."""
    gammas = {
        each.name: {f"gamma_{level}": value for level, value in each.coefficients.items()} for each in sweep.settings
    }
    return [{"setting": row["setting"], **gammas[str(row["setting"])], **row} for row in sweep.scores]


def estimates(scores: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Estimate]]:
    """Mean with a 95 % interval over cases of every metric, by setting."""
    return figures.estimates(scores, "setting")


def draw_strip(path: Path, sweep: Sweep) -> Path:
    """Draw the shown cases under every setting, with the mean CP and PF of the setting over all cases."""
    found = estimates(sweep.scores)
    shape = (len(sweep.references), len(sweep.settings) + 1)
    with figures.drawing(path, rows(sweep)) as plt:
        size = (1.12 * shape[1] + 0.2, 1.16 * shape[0] + 1.0)
        figure, axes = plt.subplots(*shape, figsize=size, layout="constrained", squeeze=False)
        figures.headline(figure, "The same seeds with other fusion coefficients: what each level carries over")
        for k, reference in enumerate(sweep.references):
            figures.show_image(axes[k, 0], reference, "reference" if k == 0 else "")
            for j, setting in enumerate(sweep.settings):
                title = _caption(setting.name, found.get(setting.name, {})) if k == 0 else ""
                figures.show_image(axes[k, j + 1], sweep.images[setting.name][k], title)
    return path


def _caption(name: str, found: Mapping[str, Estimate]) -> str:
    parts = [f"{metric.upper()} {found[metric].value:.2f}" for metric in ("cp", "pf") if metric in found]
    return "\n".join([name, *parts])


def draw_attributes(path: Path, sweep: Sweep) -> Path:
    """Draw CP of every attribute, and the other scores, under every setting."""
    return figures.draw_numbers(
        path, estimates(sweep.scores), "setting", "How often each attribute is kept, by setting"
    )


def draw_curves(path: Path, sweep: Sweep) -> Path:
    """Draw CP of every attribute over the coefficient of one level, one panel a level, with 95 % intervals."""
    found = estimates(sweep.scores)
    table = curve_rows(sweep, found)
    levels = list(dict.fromkeys(row["level"] for row in table))
    metrics = figures.shown_metrics(list(dict.fromkeys(row["metric"] for row in table)))
    with figures.drawing(path, table) as plt:
        size = (2.9 * len(levels) + 1.3, 3.2)
        figure, axes = plt.subplots(1, len(levels), figsize=size, layout="constrained", squeeze=False, sharey=True)
        figures.headline(figure, _moved(table, sweep.scores))
        for place, level in zip(axes[0], levels, strict=True):
            for k, metric in enumerate(metrics):
                own = [row for row in table if row["level"] == level and row["metric"] == metric]
                _curve(place, sorted(own, key=lambda row: row["gamma"]), metric, k, len(metrics))
            gammas = sorted({row["gamma"] for row in table})
            place.set_xscale("log", base=2)
            place.set_xticks(gammas, [f"{gamma:g}" for gamma in gammas], fontsize=8)
            place.minorticks_off()
            place.axvline(1, color=LIGHT.line, linewidth=3, zorder=0)
            place.set(xlabel=f"coefficient of {level}", ylim=(-0.05, 1.05))
            place.set_title(level, fontsize=9.5)
        axes[0, 0].set_ylabel("mean score")
        axes[0, -1].legend(fontsize=7.5, loc="center left", bbox_to_anchor=(1.02, 0.5), handlelength=1.5)
    return path


def curve_rows(sweep: Sweep, found: Mapping[str, Mapping[str, Estimate]]) -> list[dict[str, Any]]:
    """Tidy rows: level, gamma, metric, value with its interval; the router's own choice stands at gamma 1 of every level."""
    rows: list[dict[str, Any]] = []
    for setting in sweep.settings:
        moved = [level for level, gamma in setting.coefficients.items() if gamma != 1] or list(setting.coefficients)
        for level in moved:
            for metric, it in found.get(setting.name, {}).items():
                rows.append(
                    {"level": level, "gamma": setting.coefficients[level], "setting": setting.name, "metric": metric,
                     "value": it.value, "low": it.low, "high": it.high, "cases": it.cases}
                )  # fmt: skip
    return rows


def _curve(axes: Any, rows: Sequence[Mapping[str, Any]], metric: str, place: int, count: int) -> None:
    whole = metric in ("cp", "pf", "leak")
    colour = LIGHT.ink if metric == "cp" else LIGHT.quiet if whole else arm_colour(place)
    shift = 1 + 0.05 * (place - count / 2)  # so that intervals stand beside each other
    x = np.array([row["gamma"] for row in rows]) * shift
    axes.vlines(x, [row["low"] for row in rows], [row["high"] for row in rows], color=colour, alpha=0.35, linewidth=1)
    label = figures.short_name(metric)
    style = "--" if metric in ("pf", "leak") else "-"
    axes.plot(x, [row["value"] for row in rows], color=colour, marker=arm_marker(place), markersize=4,
              linewidth=2.2 if metric == "cp" else 1.2, linestyle=style, label=label)  # fmt: skip


def _moved(rows: Sequence[Mapping[str, Any]], scores: Sequence[Mapping[str, Any]]) -> str:
    """The attribute that a coefficient moves most, between which settings, with the paired difference's interval."""
    spans: dict[tuple[str, str], tuple[float, str, str]] = {}
    for row in rows:
        if str(row["metric"]).startswith("cp_"):
            own = [r for r in rows if r["level"] == row["level"] and r["metric"] == row["metric"]]
            low, high = (pick(own, key=lambda r: r["value"]) for pick in (min, max))
            spans[row["level"], row["metric"]] = (high["value"] - low["value"], high["setting"], low["setting"])
    if not spans:
        return "Scores over the coefficient of each level"
    level, metric = max(spans, key=lambda key: spans[key][0])
    aligned = collect([{"seed": 0, **row, "suite": "all", "arm": row["setting"]} for row in scores], [metric])
    gap = Bootstrap(aligned[0]).difference(spans[level, metric][1], spans[level, metric][2], metric)
    told = "" if gap.decided else ", not told apart from zero"
    amount = f"{gap.value:.2f} [{gap.low:.2f}, {gap.high:.2f}]".replace("-", "−")
    return f"The coefficient of {level} moves {figures.short_name(metric)} most: by {amount}{told}"
