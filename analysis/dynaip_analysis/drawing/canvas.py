"""Figures of the analyses in the house's visual language, each with its tidy table beside it."""

from __future__ import annotations

import importlib
import io
import textwrap
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from pyarrow import parquet

from dynaip.ablation.statistics import Bootstrap, Estimate, collect
from dynaip.atomic import replacing
from dynaip.report.style import LIGHT, OKABE_ITO, SEQUENTIAL, figure_style, settings

BRANCH_COLOURS: Mapping[str, str] = {"image": OKABE_ITO[0], "text": OKABE_ITO[1]}
LEVEL_COLOURS: Sequence[str] = ("#E69F00", "#009E73", "#1F3A7A", "#CC79A7", "#8C6D1F", "#56B4E9")
"""Apart in lightness for three levels, so that print without colours tells them too."""
MARK = "#D55E00"
MAIN = ("cp", "pf", "leak")
"""What the analyses speak of first, where it is measured."""
TITLES = {
    "cp": "CP: identity kept", "pf": "PF: prompt followed", "leak": "leak: context copied (0: chance)",
    "clip_i": "CLIP-I", "clip_t": "CLIP-T",
}  # fmt: skip
DIVERGING = "PuOr"
"""Orange below zero, purple above: told apart by colour-blind people."""


def colour_of_level(index: int) -> str:
    """The colour of an encoder level, from shallow (warm) to deep (cold)."""
    return LEVEL_COLOURS[index % len(LEVEL_COLOURS)]


@contextmanager
def drawing(path: Path, rows: Sequence[Mapping[str, Any]]) -> Generator[Any]:
    """Give pyplot; on leaving, save the current figure to `path` (PNG) and its rows beside it (parquet)."""
    with figure_style() as plt:
        yield plt
        with replacing(path) as part:
            plt.gcf().savefig(part, format="png")
    write_rows(path.with_suffix(".parquet"), rows)


@contextmanager
def own_figure(size: tuple[float, float]) -> Generator[Any]:
    """Give a figure of ``size`` inches in the house's style that belongs to no pyplot; a notebook shows it as it is."""
    matplotlib: Any = importlib.import_module("matplotlib")
    with matplotlib.rc_context(settings(LIGHT)):
        yield _figure_class()(figsize=size, layout="constrained")


@cache
def _figure_class() -> Any:
    """Matplotlib's figure that draws itself in a notebook, which otherwise shows those of pyplot alone."""
    made: Any = importlib.import_module("matplotlib.figure")
    return type("Figure", (made.Figure,), {"_repr_png_": png_of})


def png_of(figure: Any, dpi: int = 110) -> bytes:
    """A matplotlib figure as a PNG file."""
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=dpi)
    return target.getvalue()


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write tidy rows as parquet, with the columns of all rows: what a row does not have is null."""
    names = dict.fromkeys(name for row in rows for name in row)
    table = pa.Table.from_pylist([{name: row.get(name) for name in names} for row in rows])
    with replacing(path) as part:
        parquet.write_table(table, part, write_page_checksum=True)
    return path


def spoken(name: str, row: Mapping[str, Any], column: str) -> str:
    """A figure of a tidy table with its interval, if it has one, on one line: ``CP −0.12 [−0.19, −0.04]``."""
    value, low, high = row[column], row[f"{column}_low"], row[f"{column}_high"]
    told = f"{value:+.2f}" + (f" [{low:+.2f}, {high:+.2f}]" if isfinite(low) else "")
    return f"{spoken_name(name)} {told.replace('-', '−')}".replace(" ", "\u00a0")


def show_image(axes: Any, image: Image.Image | ArrayLike, title: str = "") -> None:
    """A picture without axes, pixel for pixel."""
    axes.imshow(np.asarray(image), interpolation="nearest")
    bare(axes, title)


def show_map(
    axes: Any, values: NDArray[np.floating], title: str = "", *, low: float = 0.0, high: float | None = None
) -> Any:
    """A heat map; NaN stays empty."""
    drawn = axes.imshow(values, cmap=SEQUENTIAL, vmin=low, vmax=high, interpolation="nearest")
    bare(axes, title)
    return drawn


def overlay(
    axes: Any,
    image: Image.Image,
    values: NDArray[np.floating],
    title: str = "",
    *,
    low: float = 0.0,
    high: float | None = None,
) -> Any:
    """A heat map over a grey picture; the map keeps its own patches, so that nothing is finer than it was measured."""
    grey = np.asarray(image.convert("L"))
    height, width = grey.shape
    axes.imshow(grey, cmap="gray", vmin=0, vmax=255, interpolation="nearest", extent=(0, width, height, 0))
    drawn = axes.imshow(
        values, cmap=SEQUENTIAL, vmin=low, vmax=high, alpha=0.72, interpolation="nearest", extent=(0, width, height, 0)
    )
    bare(axes, title)
    return drawn


def dot(axes: Any, x: float, y: float, text: str = "") -> None:
    """Mark a place of a picture; with a number where there are several."""
    size = 11 if text else 6
    axes.plot(
        x, y, marker="o", markersize=size, color=MARK, markeredgecolor="white", markeredgewidth=1.2, clip_on=False
    )
    axes.text(x, y, text, color="white", fontsize=7.5, ha="center", va="center_baseline", fontweight="bold")


def bare(axes: Any, title: str = "") -> None:
    """Take ticks and frame away."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    if title:
        axes.set_title(title, fontsize=9)


def no_map(axes: Any, title: str = "", reason: str = "no map") -> None:
    """A panel that stays empty, and says so."""
    bare(axes, title)
    axes.text(0.5, 0.5, reason, transform=axes.transAxes, fontsize=8, color=LIGHT.quiet, ha="center", va="center")


def scale_bar(figure: Any, drawn: Any, axes: Any, label: str) -> None:
    """A slim colour bar with a label; for one picture, or for all of an array."""
    slim = {"fraction": 0.02, "aspect": 40} if isinstance(axes, np.ndarray) else {"fraction": 0.046}
    bar = figure.colorbar(drawn, ax=axes, pad=0.03, **slim)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=7.5, colors=LIGHT.quiet)
    bar.set_label(label, fontsize=8, color=LIGHT.quiet)


def headline(figure: Any, text: str) -> None:
    """The title of a figure, on the left; it says what to see, in as many lines as the width asks for."""
    text = textwrap.fill(text, max(20, int(figure.get_figwidth() * 10.4)), break_on_hyphens=False)
    figure.suptitle(text, x=0.01, ha="left", fontsize=11.5, color=LIGHT.ink)


def note(figure: Any, text: str) -> None:
    """A quiet line below a figure: how to read it."""
    text = textwrap.fill(text, max(30, int(figure.get_figwidth() * 15)))
    figure.supxlabel(text, x=0.01, ha="left", fontsize=7.5, color=LIGHT.quiet)


def metric_names(scores: Sequence[Mapping[str, Any]]) -> list[str]:
    """Columns that hold a finite number in some row, in their order."""
    names = dict.fromkeys(name for row in scores for name in row if name not in ("seed", "case", "suite"))
    return [name for name in names if any(isinstance(row.get(name), float) and isfinite(row[name]) for row in scores)]


def estimates(scores: Sequence[Mapping[str, Any]], key: str) -> dict[str, dict[str, Estimate]]:
    """Mean with a 95 % interval over cases of every metric, by the value of column ``key``."""
    names = metric_names(scores)
    aligned = collect([{"seed": 0, **row, "suite": "all", "arm": row[key]} for row in scores], names)
    boot = [Bootstrap(each) for each in aligned]
    return {arm: {name: each.estimate(arm, name) for name in names} for each in boot for arm in each.scores.arms}


def over(found: Iterable[Estimate]) -> str:
    """How many cases are behind some figures, in words: not every case has every value."""
    counts = sorted({it.cases for it in found})
    if len(counts) < 2:
        return f"{counts[0] if counts else 0} cases"
    return f"{counts[0]} to {counts[-1]} cases, those that have the value"


def main_metrics(names: Sequence[str]) -> list[str]:
    """CP, PF and leak where they are measured, else the first three of what is."""
    return [name for name in MAIN if name in names] or list(names)[:3]


def spoken_name(metric: str) -> str:
    """How a sentence names a score."""
    return short_name(metric) if metric.partition("_")[0] in MAIN else TITLES.get(metric, metric)


def shown_metrics(names: Sequence[str], extra: str = "") -> list[str]:
    """CP with its attributes, PF, leak with its attributes if ``extra`` is ``leak``; all names where none of them is measured."""
    families = {"cp": True, "pf": False, "leak": extra == "leak"}
    shown = [
        name
        for family, whole in families.items()
        for name in names
        if name == family or (whole and name.startswith(f"{family}_"))
    ]
    return shown or list(names)


def draw_numbers(
    path: Path, found: Mapping[str, Mapping[str, Estimate]], key: str, title: str, extra: str = ""
) -> Path:
    """Draw means with their 95 % intervals as a table of colours: one row a value of ``key``, one column a metric.

    CP and PF go from 0 to 1, a leak has a colour on either side of chance, which is 0, and other metrics have the colours of
    their own range.
    """
    metrics = shown_metrics(list(next(iter(found.values()))), extra)
    values = np.array([[row[metric].value for metric in metrics] for row in found.values()])
    table = [
        {key: name, "metric": metric, "value": it.value, "low": it.low, "high": it.high, "cases": it.cases}
        for name, row in found.items()
        for metric, it in row.items()
    ]
    with drawing(path, table) as plt:
        figure, axes = plt.subplots(figsize=(0.74 * len(metrics) + 1.6, 0.44 * len(found) + 1.5), layout="constrained")
        headline(figure, title)
        leaks, fixed = (
            np.array([metric.partition("_")[0] in names for metric in metrics]) for names in (["leak"], MAIN)
        )
        told = f"Means over {over(row[metric] for row in found.values() for metric in metrics)}, with 95 % intervals"
        low, spread = np.nanmin(values, axis=0), np.maximum(np.ptp(np.nan_to_num(values), axis=0), 1e-12)
        shades = np.where(fixed, values, (values - low) / spread)
        axes.imshow(np.where(leaks, np.nan, shades), vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        if leaks.any():
            axes.imshow(np.where(leaks, values, np.nan), cmap=DIVERGING, vmin=-1, vmax=1, aspect="auto")
            told += ". leak: white is chance, purple is copied context"
        note(figure, told)
        for (i, j), value in np.ndenumerate(values):
            tone = "white" if (abs(value) > 0.6 if leaks[j] else shades[i, j] < 0.65) else "black"
            it = list(found.values())[i][metrics[j]]
            ends = f"{it.low:.2f} to {it.high:.2f}" if isfinite(it.low) else ""
            mean, interval = (text.replace("-", "−") for text in (f"{value:.2f}", ends))
            axes.text(j, i - 0.15, mean, ha="center", va="center", fontsize=8, color=tone)
            axes.text(j, i + 0.24, interval, ha="center", va="center", fontsize=6, color=tone)
        axes.set_xticks(range(len(metrics)), [spoken_name(metric) for metric in metrics], fontsize=7.5)
        axes.xaxis.tick_top()
        axes.set_yticks(range(len(found)), list(found), fontsize=8)
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
    return path


def short_name(metric: str) -> str:
    """How a figure names a score: CP, PF, leak, or the attribute."""
    family, _, attribute = metric.partition("_")
    if not attribute:
        return family.upper() if family in ("cp", "pf") else family
    return attribute if family == "cp" else f"{family}\n{attribute}"
