"""What each encoder level preserves: generations with one level alone, and over a sweep of fusion coefficients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dynaip.ablation.statistics import Bootstrap, Estimate, collect
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


def metric_names(scores: Sequence[Mapping[str, Any]]) -> list[str]:
    """Metrics that have a number in some row, in the order of the columns."""
    names = [name for name in (scores[0] if scores else {}) if name not in ("setting", "case", "suite", "seed", "arm")]
    return [
        name for name in names if any(isinstance(row.get(name), float) and np.isfinite(row[name]) for row in scores)
    ]


def estimates(scores: Sequence[Mapping[str, Any]], key: str = "setting") -> dict[str, dict[str, Estimate]]:
    """Mean with a 95 % interval over cases of every metric, by setting."""
    names = metric_names(scores)
    table = collect([{"suite": "all", "seed": 0, **row, "arm": row[key]} for row in scores], names)
    boot = [Bootstrap(each) for each in table]
    return {arm: {name: each.estimate(arm, name) for name in names} for each in boot for arm in each.scores.arms}


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


def draw_attributes(path: Path, sweep: Sweep, metrics: Sequence[str]) -> Path:
    """Draw the mean of every metric under every setting as a table of colours with its numbers."""
    found = estimates(sweep.scores)
    names = [setting.name for setting in sweep.settings if setting.name in found]
    values = np.array([[found[name][metric].value for metric in metrics] for name in names])
    table = [
        {"setting": name, "metric": metric, "value": it.value, "low": it.low, "high": it.high, "cases": it.cases}
        for name in names
        for metric, it in ((metric, found[name][metric]) for metric in metrics)
    ]
    with figures.drawing(path, table) as plt:
        size = (1.0 * len(metrics) + 1.8, 0.34 * len(names) + 1.5)
        figure, axes = plt.subplots(figsize=size, layout="constrained")
        figures.headline(figure, "How often each attribute is kept, by setting")
        axes.imshow(values, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        for (i, j), value in np.ndenumerate(values):
            axes.text(
                j, i, f"{value:.2f}", ha="center", va="center", fontsize=8, color="white" if value < 0.65 else "black"
            )
        _frame(axes, [metric.removeprefix("cp_").replace("_", " ") for metric in metrics], names)
    return path


def _frame(axes: Any, across: Sequence[str], down: Sequence[str]) -> None:
    axes.set_xticks(range(len(across)), across, fontsize=8)
    axes.xaxis.tick_top()
    axes.set_yticks(range(len(down)), down, fontsize=8)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
