"""What each encoder level preserves: generations with one level alone, and over a sweep of fusion coefficients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from dynaip.ablation.statistics import Estimate
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
