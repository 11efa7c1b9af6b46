"""Recorded maps: named axes that know the picture their tokens lie on, and draw themselves."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dynaip.adapter.reference import Reference
from dynaip.adapter.words import occurrences, places_of
from dynaip.errors import InputError
from dynaip_analysis.drawing import canvas
from dynaip_analysis.recording.named import Named

Floats = NDArray[np.floating[Any]]
Grid = tuple[int, int]


@dataclass(frozen=True, repr=False)
class Map(Named):
    """Values with named axes (``block, step, sample, reference, head, query, key``, those that it has)."""

    grids: Mapping[str, Grid] = field(default_factory=dict[str, Grid])
    """Axis -> rows and columns of the picture that its tokens lie on: ``query`` the image, ``key`` the reference."""
    words: Sequence[Sequence[str]] = ()
    """Text tokens of every sample's prompt, where ``query`` or ``key`` are text tokens."""

    def _one(self, axis: str, wanted: Any) -> Self:
        """Choose along one axis; a choice of samples keeps the words of these samples."""
        found = super()._one(axis, wanted)
        if axis != "sample" or not self.words:
            return found
        labels = list(self.axes[axis])
        chosen = found.axes.get(axis) or [labels[self._index(axis, wanted)]]
        return replace(found, words=[self.words[labels.index(each)] for each in chosen])

    def word(self, word: str, *, axis: str = "query", sample: int | None = None) -> Self:
        """One word: the mean over its tokens as queries, the sum over them as keys, at every place where it stands.

        Each sample has the places of its own prompt, and is NaN where its prompt does not have the word; ``sample`` chooses
        one before. ``InputError`` if no prompt has it.
        """
        self._place(axis)
        if axis in self.grids or not all(isinstance(label, int) for label in self.axes[axis]):
            raise InputError(
                f"word: axis {axis!r} of this map holds no text tokens; choose the text branch, sel(branch='text'), or "
                "sel by the name of what was recorded"
            )
        if not self.words:
            raise InputError("word: the words of the prompt are not known; give them, record(..., prompts=[prompt])")
        if sample is not None and "sample" in self.axes:
            return self.sel(sample=sample).word(word, axis=axis)
        if sample is not None and not 0 <= sample < len(self.words):
            raise InputError(f"word: there is no sample {sample}; {len(self.words)} prompts were named")
        places = [[place for span in occurrences(word, tokens) for place in span] for tokens in self.words]
        if not any(places):
            places_of(word, [token for tokens in self.words for token in tokens])
        if "sample" in self.axes:
            rest = {name: labels for name, labels in self.axes.items() if name != axis}
            samples = zip(self.axes["sample"], places, strict=True)
            each = [self.sel(sample=label)._of_tokens(axis, own).values for label, own in samples]
            return self._with(np.stack(each, axis=list(rest).index("sample")), rest)
        if any(own != places[0] for own in places):
            raise InputError(
                f"{word!r} has other places in other prompts: choose a sample before the mean over samples"
            )
        return self._of_tokens(axis, places[0])

    def _of_tokens(self, axis: str, tokens: Sequence[int]) -> Self:
        """Reduce over the tokens at some places of the text stream; NaN if there is none of them."""
        labels = list(self.axes[axis])
        held = [labels.index(token) for token in tokens if token in labels]
        found = self._reduced(axis, held or [0])
        return found if held else self._with(np.full_like(found.values, np.nan), found.axes)

    def region(self, region: Any, *, axis: str = "key") -> Self:
        """A box (left, top, right, bottom in [0, 1]) or mask of the axis's picture: sum over keys, mean over queries."""
        grid = self._whole(axis)
        weights = region_on(region, grid, len(self.axes[axis]))
        return self._reduced(axis, np.flatnonzero(weights > 0), weights[weights > 0])

    def point(self, x: float, y: float, *, axis: str = "query") -> Self:
        """The token under a place of the axis's picture, x and y in [0, 1]."""
        rows, columns = self._whole(axis)
        row, column = token_at((x, y), (rows, columns))
        return self.sel(**{axis: list(self.axes[axis])[row * columns + column + len(self.axes[axis]) - rows * columns]})

    def _reduced(self, axis: str, places: Any, weights: Floats | None = None) -> Self:
        at = self._place(axis)
        picked = np.take(self.values, places, axis=at)
        weights = np.ones(len(places)) if weights is None else weights
        rest = {name: labels for name, labels in self.axes.items() if name != axis}
        if axis != "query":
            return self._with(np.tensordot(picked, weights, axes=(at, 0)), rest)
        # Queries that a reference's region leaves out were never seen: they count nothing.
        seen = np.isfinite(picked)
        total, mass = (np.tensordot(part, weights, axes=(at, 0)) for part in (np.where(seen, picked, 0), seen))
        return self._with(np.where(mass > 0, total / np.where(mass > 0, mass, 1), np.nan), rest)

    def _whole(self, axis: str) -> Grid:
        """The grid of an axis that still has all its tokens."""
        grid = self._grid(axis)
        labels = list(self.axes[axis])
        if labels != list(range(len(labels))) or len(labels) < grid[0] * grid[1]:
            raise InputError(f"axis {axis!r} holds some tokens alone: choose regions and points before tokens")
        return grid

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
            return canvas.show_map(axes, values, title, high=high)
        return canvas.overlay(axes, picture, values, title, high=high)

    def grid(
        self, rows: str = "block", columns: str = "step", *, picture: Image.Image | None = None, axis: str | None = None
    ) -> Any:
        """A matplotlib figure of small maps on one scale: one row and one column a label of two axes."""
        for name in (rows, columns):
            self._place(name)
        cells = [[self.sel(**{rows: one, columns: other}) for other in self.axes[columns]] for one in self.axes[rows]]
        high = max(float(np.nanmax(cell.spatial(axis), initial=0)) for line in cells for cell in line) or None
        with canvas.own_figure((1.05 * len(cells[0]) + 1.6, 1.05 * len(cells) + 0.8)) as figure:
            places = figure.subplots(len(cells), len(cells[0]), squeeze=False)
            drawn = None
            for i, line in enumerate(cells):
                for j, cell in enumerate(line):
                    title = _label(columns, self.axes[columns][j]) if i == 0 else ""
                    drawn = cell.overlay(places[i, j], picture, axis=axis, title=title, high=high)
                places[i, 0].set_ylabel(
                    _label(rows, self.axes[rows][i]), rotation=0, ha="right", va="center", fontsize=8
                )
            canvas.scale_bar(figure, drawn, places, "value, one scale")
            figure.draw_without_rendering()  # the first layout does not know yet how wide the labels at the side are
        return figure

    def to_html(self, picture: Image.Image | None = None, *, caption: str = "") -> str:
        """A self-contained piece of HTML: the map as a picture, its caption and what its axes are."""
        drawn = ""
        if self._drawable():
            with canvas.own_figure((2.6, 2.4)) as figure:
                place = figure.subplots()
                canvas.scale_bar(figure, self.overlay(place, picture), place, "")
            encoded = base64.b64encode(canvas.png_of(figure)).decode()
            drawn = f'<img alt="{escape(caption or "map")}" src="data:image/png;base64,{encoded}">'
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


def _label(axis: str, label: Any) -> str:
    return f"{axis} {label:.2f}" if isinstance(label, float) else f"{axis} {label}"


class Branches(dict[str, Map]):
    """Maps by branch: ``branch`` is an axis like the others, only that the branches have different queries."""

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

    def __missing__(self, branch: str) -> Map:
        known = ", ".join(self) or "nothing: no branch was open, or it was not asked for"
        raise InputError(f"axis 'branch' has no {branch!r}; it has {known}")

    def mean(self, *axes: str) -> Branches:
        """The mean over axes in every branch."""
        return Branches({name: found.mean(*axes) for name, found in self.items()})


def token_at(place: tuple[float, float], grid: Grid) -> tuple[int, int]:
    """Row and column of the token under a place (x, y in [0, 1]) of the picture; ``InputError`` outside it."""
    x, y = place
    if not (0 <= x <= 1 and 0 <= y <= 1):
        raise InputError(f"point ({x}, {y}) lies outside the picture; x and y go from 0 to 1")
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
