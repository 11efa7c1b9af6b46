"""Recorded maps: named axes that know the picture their tokens lie on, and draw themselves."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dynaip.adapter.reference import Reference
from dynaip.adapter.words import places_of
from dynaip.errors import InputError
from dynaip_analysis import figures
from dynaip_analysis.named import Named

Floats = NDArray[np.floating[Any]]
Grid = tuple[int, int]


@dataclass(frozen=True, repr=False)
class Map(Named):
    """Values with named axes (``block, step, sample, reference, head, query, key``, those that it has)."""

    grids: Mapping[str, Grid] = field(default_factory=dict[str, Grid])
    """Axis -> rows and columns of the picture that its tokens lie on: ``query`` the image, ``key`` the reference."""
    words: Sequence[Sequence[str]] = ()
    """Text tokens of every sample's prompt, where ``query`` or ``key`` are text tokens."""

    def word(self, word: str, *, axis: str = "query", sample: int = 0) -> Self:
        """One word: the mean over its tokens as queries, the sum over them as keys. ``InputError`` if it is not there."""
        self._place(axis)
        if axis in self.grids or not all(isinstance(label, int) for label in self.axes[axis]):
            raise InputError(
                f"word: axis {axis!r} of this map holds no text tokens; choose the text branch, sel(branch='text'), or "
                "sel by the name of what was recorded"
            )
        if not self.words:
            raise InputError("word: the words of the prompt are not known; give them, record(..., prompts=[prompt])")
        if not 0 <= sample < len(self.words):
            raise InputError(f"word: there is no sample {sample}; {len(self.words)} prompts were named")
        return self._reduced(axis, places_of(word, self.words[sample]))

    def region(self, region: Any, *, axis: str = "key") -> Self:
        """A box (left, top, right, bottom in [0, 1]) or mask of the axis's picture: sum over keys, mean over queries."""
        weights = region_on(region, self._grid(axis), len(self.axes[axis]))
        return self._reduced(axis, np.flatnonzero(weights > 0), weights[weights > 0])

    def point(self, x: float, y: float, *, axis: str = "query") -> Self:
        """The token under a place of the axis's picture, x and y in [0, 1]."""
        rows, columns = self._grid(axis)
        row, column = token_at((x, y), (rows, columns))
        return self.sel(**{axis: list(self.axes[axis])[row * columns + column + len(self.axes[axis]) - rows * columns]})

    def _reduced(self, axis: str, places: Any, weights: Floats | None = None) -> Self:
        at = self._place(axis)
        picked = np.take(self.values, places, axis=at)
        weights = np.ones(len(places)) if weights is None else weights
        if axis == "query":
            weights = weights / weights.sum()
        rest = {name: labels for name, labels in self.axes.items() if name != axis}
        return self._with(np.tensordot(picked, weights, axes=(at, 0)), rest)

    def _grid(self, axis: str) -> Grid:
        self._place(axis)
        if axis not in self.grids:
            raise InputError(f"the tokens of axis {axis!r} have no place on a picture")
        return self.grids[axis]

    def spatial(self, axis: str | None = None) -> Floats:
        """The mean over all other axes as rows x columns of the axis's picture (by default ``key``, else ``query``)."""
        axis = axis or next((name for name in ("key", "query") if name in self.axes and name in self.grids), "key")
        grid = self._grid(axis)
        others = [name for name in self.axes if name != axis]
        means = self.mean(*others).values if others else self.values
        placed = on_patches(means, grid)
        if placed is None:
            raise InputError(f"{len(means)} tokens do not lie on {grid[0]} x {grid[1]} patches")
        return placed

    # -- drawing -------------------------------------------------------------------------------------------------------

    def overlay(
        self, axes: Any, picture: Image.Image | None = None, *, axis: str | None = None, title: str = "",
        high: float | None = None,
    ) -> Any:  # fmt: skip
        """Draw the mean map over a picture on matplotlib axes; gives what ``colorbar`` takes."""
        values = self.spatial(axis)
        if picture is None:
            return figures.show_map(axes, values, title, high=high)
        return figures.overlay(axes, picture, values, title, high=high)

    def grid(
        self, rows: str = "block", columns: str = "step", *, picture: Image.Image | None = None, axis: str | None = None
    ) -> Any:
        """A matplotlib figure of small maps on one scale: one row and one column a label of two axes."""
        for axis_of in (rows, columns):
            self._place(axis_of)
        cells = [[self.sel(**{rows: one, columns: other}) for other in self.axes[columns]] for one in self.axes[rows]]
        high = max(float(np.nanmax(cell.spatial(axis), initial=0)) for line in cells for cell in line) or None
        with figures.own_figure((1.05 * len(cells[0]) + 1.6, 1.05 * len(cells) + 0.8)) as figure:
            places = figure.subplots(len(cells), len(cells[0]), squeeze=False)
            drawn = None
            for i, line in enumerate(cells):
                for j, cell in enumerate(line):
                    title = _label(columns, self.axes[columns][j]) if i == 0 else ""
                    drawn = cell.overlay(places[i, j], picture, axis=axis, title=title, high=high)
                places[i, 0].set_ylabel(
                    _label(rows, self.axes[rows][i]), rotation=0, ha="right", va="center", fontsize=8
                )
            figures.scale_bar(figure, drawn, places, "value, one scale")
        return figure

    def to_html(self, picture: Image.Image | None = None, *, caption: str = "") -> str:
        """A self-contained piece of HTML: the map as a picture, its caption and what its axes are."""
        drawn = ""
        if self._drawable():
            with figures.own_figure((2.6, 2.4)) as figure:
                place = figure.subplots()
                figures.scale_bar(figure, self.overlay(place, picture), place, "")
            drawn = f'<img alt="{escape(caption or "map")}" src="data:image/png;base64,{_encoded(figure)}">'
        return (
            f"<figure>{drawn}<figcaption>{escape(caption)} <small>{escape(self.told())}</small></figcaption></figure>"
        )

    def _drawable(self) -> bool:
        """Whether some axis lies on a picture: a resampler's tokens do not."""
        try:
            return bool(np.isfinite(self.spatial()).any())
        except InputError:
            return False

    def _repr_html_(self) -> str:
        return self.to_html()


def _encoded(figure: Any) -> str:
    return base64.b64encode(figures.png_of(figure)).decode()


def _label(axis: str, label: Any) -> str:
    return f"{axis} {label:.2f}" if isinstance(label, float) else f"{axis} {label}"


class Branches(dict[str, Map]):
    """Maps by branch: ``branch`` is an axis like the others, only that the branches have different queries."""

    def __missing__(self, branch: str) -> Map:
        raise InputError(f"axis 'branch' has no {branch!r}; it has {', '.join(self) or 'nothing: no branch was open'}")

    def __repr__(self) -> str:
        return f"Branches({', '.join(f'{name}: {found.told()}' for name, found in self.items()) or 'none'})"

    def _repr_html_(self) -> str:
        cells = "".join(f"<td>{found.to_html(caption=f'{name} branch')}</td>" for name, found in self.items())
        return f"<table><tr>{cells}</tr></table>" if cells else "<p>no branch was open</p>"

    def sel(self, *, branch: str | None = None, **choice: Any) -> Any:
        """Choose by label: a ``Map`` if ``branch`` is given, else the same choice in every branch."""
        if branch is None:
            return Branches({name: found.sel(**choice) for name, found in self.items()})
        return self[branch].sel(**choice)

    def mean(self, *axes: str) -> Branches:
        """The mean over axes in every branch."""
        return Branches({name: found.mean(*axes) for name, found in self.items()})


def token_at(place: tuple[float, float], grid: Grid) -> tuple[int, int]:
    """Row and column of the token under a place (x, y in [0, 1]) of the picture; ``InputError`` outside it."""
    x, y = place
    if not (0 <= x <= 1 and 0 <= y <= 1):
        raise InputError(f"point ({x}, {y}) lies outside the picture; x and y are within 0 and 1")
    return min(int(y * grid[0]), grid[0] - 1), min(int(x * grid[1]), grid[1] - 1)


def on_patches(values: Floats, grid: Grid) -> Floats | None:
    """Values over tokens as maps over patches (... x rows x columns).

    A class token in front is dropped; tokens of several levels side by side are added up; None if the tokens have no
    place (a resampler's queries).
    """
    patches = grid[0] * grid[1]
    for width in (patches, patches + 1):
        if values.shape[-1] % width == 0:
            levels = values.reshape(*values.shape[:-1], -1, width).sum(axis=-2)
            return levels[..., width - patches :].reshape(*values.shape[:-1], *grid)
    return None


def region_on(region: Any, grid: Grid, tokens: int) -> Floats:
    """A box or mask as weights in [0, 1] of tokens on a grid; a class token counts nothing, levels side by side alike."""
    weights = Reference(Image.new("RGB", (1, 1)), region=region).weights(grid)
    patches = np.ones(grid[0] * grid[1]) if weights is None else weights.double().numpy()
    for width in (len(patches), len(patches) + 1):
        if tokens % width == 0:
            return np.tile(np.concatenate([np.zeros(width - len(patches)), patches]), tokens // width)
    raise InputError(f"{tokens} tokens do not lie on {grid[0]} x {grid[1]} patches: a region means nothing there")
