"""The visual language that the report and every figure share: colours, markers, type, light and dark."""

from __future__ import annotations

import importlib
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

OKABE_ITO: tuple[str, ...] = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D1F", "#7E57C2")
"""Colours that colour-blind people tell apart (Okabe and Ito 2008); yellow and black vanish on paper or at night."""

MARKERS: tuple[str, ...] = ("o", "s", "D", "^", "v", "P", "X", "p")
"""Shapes, so that nothing rests on colour alone."""

BASELINE = "#8A8F98"
SEQUENTIAL = "viridis"
"""The colour map of every heat map: even in lightness, safe for colour-blind people and in print."""


@dataclass(frozen=True)
class Theme:
    """Ink and paper of one colour scheme."""

    ink: str
    quiet: str
    line: str
    paper: str


LIGHT = Theme(ink="#1d2129", quiet="#6b7280", line="#e3e6ea", paper="#ffffff")
DARK = Theme(ink="#e8eaed", quiet="#9aa3af", line="#343a44", paper="#15181d")


def arm_colour(index: int) -> str:
    """The colour of an arm by its place in the plan."""
    return OKABE_ITO[index % len(OKABE_ITO)]


def arm_marker(index: int) -> str:
    """The marker of an arm: changes with each round through the colours, and within it."""
    return MARKERS[(index + index // len(OKABE_ITO)) % len(MARKERS)]


def settings(theme: Theme = LIGHT) -> dict[str, Any]:
    """Matplotlib settings: quiet axes, no frame, titles on the left that say what to see."""
    return {
        "font.size": 9.5,
        "font.family": ["DejaVu Sans"],
        "text.color": theme.ink,
        "axes.edgecolor": theme.quiet,
        "axes.labelcolor": theme.quiet,
        "axes.titlecolor": theme.ink,
        "axes.titlelocation": "left",
        "axes.titlesize": 10.5,
        "axes.titlepad": 10.0,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.8,
        "axes.facecolor": "none",
        "figure.facecolor": theme.paper,
        "figure.dpi": 100,
        "savefig.dpi": 160,
        "xtick.color": theme.quiet,
        "ytick.color": theme.quiet,
        "xtick.major.width": 0.8,
        "ytick.major.width": 0.8,
        "grid.color": theme.line,
        "grid.linewidth": 0.8,
        "legend.frameon": False,
        "image.cmap": SEQUENTIAL,
        "image.interpolation": "nearest",
        "svg.hashsalt": "dynaip",
    }


@contextmanager
def figure_style(theme: Theme = LIGHT) -> Generator[Any]:
    """Give `matplotlib.pyplot` on the file-only backend, in the house's style, and close every figure on leaving."""
    matplotlib: Any = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    plt: Any = importlib.import_module("matplotlib.pyplot")
    with matplotlib.rc_context(settings(theme)):
        try:
            yield plt
        finally:
            plt.close("all")
