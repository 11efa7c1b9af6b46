"""Figures of the analyses in the house's visual language, each with its tidy table beside it."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from pyarrow import parquet

from dynaip.report.style import LIGHT, OKABE_ITO, SEQUENTIAL, figure_style

BRANCH_COLOURS: Mapping[str, str] = {"image": OKABE_ITO[0], "text": OKABE_ITO[1]}
LEVEL_COLOURS: Sequence[str] = ("#E69F00", "#009E73", "#0072B2", "#CC79A7", "#D55E00", "#56B4E9")
MARK = "#D55E00"


def colour_of_level(index: int) -> str:
    """The colour of an encoder level, from shallow (warm) to deep (cold)."""
    return LEVEL_COLOURS[index % len(LEVEL_COLOURS)]


@contextmanager
def drawing(path: Path, rows: Sequence[Mapping[str, Any]]) -> Generator[Any]:
    """Give pyplot; on leaving, save the current figure to `path` (PNG) and its rows beside it (parquet)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with figure_style() as plt:
        yield plt
        plt.gcf().savefig(path, format="png")
    write_table(path.with_suffix(".parquet"), rows)


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write tidy rows as parquet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.Table.from_pylist([dict(row) for row in rows]), path)
    return path


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


def bare(axes: Any, title: str = "") -> None:
    """Take ticks and frame away."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    if title:
        axes.set_title(title, fontsize=9)


def scale_bar(figure: Any, drawn: Any, axes: Any, label: str) -> None:
    """A slim colour bar with a label."""
    bar = figure.colorbar(drawn, ax=axes, fraction=0.046, pad=0.03)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=7.5, colors=LIGHT.quiet)
    bar.set_label(label, fontsize=8, color=LIGHT.quiet)


def headline(figure: Any, text: str) -> None:
    """The title of a figure, on the left; it says what to see."""
    figure.suptitle(text, x=0.01, ha="left", fontsize=11.5, color=LIGHT.ink)
