"""What chosen places of the image look at, side by side: the image branch, the text branch through words, the image itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dynaip_analysis.attention.measure import BranchMaps, query_points
from dynaip_analysis.drawing import canvas
from dynaip_analysis.recording.maps import token_at
from dynaip_analysis.recording.recording import Recording

Floats = NDArray[np.floating[Any]]
LATTICE = 4
SHOWN = 3


def lattice(size: int = LATTICE) -> dict[str, tuple[float, float]]:
    """Places that are recorded (x, y in [0, 1]): the middles of size x size cells. Those that are drawn are chosen later."""
    return {f"{i},{j}": ((j + 0.5) / size, (i + 0.5) / size) for i in range(size) for j in range(size)}


@dataclass(frozen=True)
class PlaceViews:
    """What one place looks at, each map in multiples of an even spread; None where a branch is off."""

    token: tuple[int, int]
    """Row and column of the image token."""
    image: Floats | None
    """Reference patches, through the image branch."""
    text: Floats | None
    """Reference patches, through the words: the place's joint attention to each word times what the word looks at."""
    joint: Floats | None
    """Image tokens, in the joint attention."""
    patch: tuple[int, int] | None
    """The reference patch that the place looks at most."""
    back: Floats | None
    """Image tokens that look at that patch, through the image branch."""
    onto_words: float
    """Share of the place's joint attention that goes to text tokens."""


def views(recording: Recording, found: BranchMaps, *, sample: int = 0, count: int = SHOWN) -> list[PlaceViews]:
    """Views of the places with the largest term, far from each other; ``found`` are the maps of the same sample.

    Places outside a reference's region see nothing of it and are left out: there may be fewer than ``count``, or none.
    """
    if "image" not in recording.rows or recording.grid is None:
        return []
    names = {
        token_at(place, recording.grid): str(name)
        for name in recording.rows["image"].axes["query"]
        if (place := lattice().get(str(name))) is not None
    }
    share = found.share["image"].reshape(recording.grid) if "image" in found.share else np.ones(recording.grid)
    rows, columns = (sorted({token[axis] for token in names}) for axis in (0, 1))
    known = np.full((len(rows), len(columns)), np.nan)
    for i, j in np.ndindex(known.shape):
        known[i, j] = share[rows[i], columns[j]] if (rows[i], columns[j]) in names else np.nan
    chosen = query_points(known, count)
    return [_view(recording, found, (rows[i], columns[j]), names[rows[i], columns[j]], sample) for i, j in chosen]


def _view(recording: Recording, found: BranchMaps, token: tuple[int, int], name: str, sample: int) -> PlaceViews:
    grid = found.grid
    joint = recording.rows["image"].sel(sample=sample, query=name).spatial("key")
    onto = recording.rows["text"].sel(sample=sample, query=name).mean("block", "step").values
    image = found.by_query["image"][token[0] * grid[1] + token[1]] if "image" in found.by_query else None
    image = None if image is None or np.isnan(image).all() else image
    text, patch, back = None, None, None
    if "text" in found.by_query:
        words = found.by_query["text"]
        text = np.tensordot(onto[: len(words)], words, axes=1) / max(float(onto[: len(words)].sum()), 1e-30)
    if image is not None:
        row, column = np.unravel_index(int(np.nanargmax(image)), image.shape)
        patch = int(row), int(column)
        looking = found.by_query["image"][:, patch[0], patch[1]].reshape(grid)
        back = looking / max(float(np.nanmean(looking)), 1e-30)
    return PlaceViews(token, image, text, joint / joint.mean(), patch, back, float(onto.sum()))


COLUMNS: Mapping[str, str] = {
    "image": "image branch\n→ reference", "text": "text branch, through\nwords → reference", "joint": "joint attention\n→ image",
    "back": "back: what looks at\nthe marked patch",
}  # fmt: skip


def rows_of(found: Sequence[PlaceViews]) -> list[dict[str, Any]]:
    """Tidy rows: place, its token, view, row, column, value."""
    return [
        {"place": k + 1, "token_row": each.token[0], "token_column": each.token[1], "onto_words": each.onto_words,
         "view": name, "row": i, "column": j, "value": float(value)}
        for k, each in enumerate(found) for name in COLUMNS if getattr(each, name) is not None
        for (i, j), value in np.ndenumerate(getattr(each, name))
    ]  # fmt: skip


def draw(
    path: Path, reference: Image.Image, generated: Image.Image, found: Sequence[PlaceViews], name: str = "the reference"
) -> Path:
    """Draw one row a place: where it is, and its four views on one colour scale; ``name`` says which reference it is."""
    values = [getattr(each, name) for each in found for name in COLUMNS if getattr(each, name) is not None]
    high = float(np.nanpercentile(np.concatenate([each.ravel() for each in values]), 99))
    with canvas.drawing(path, rows_of(found)) as plt:
        figure, axes = plt.subplots(
            len(found), 5, figsize=(8.4, 1.62 * len(found) + 0.9), layout="constrained", squeeze=False
        )
        peaks = [float(np.nanmax(each.image)) for each in found if each.image is not None]
        told = f"in {name}: up to {max(peaks, default=0):.1f} times an even spread, through the image branch"
        told = f" {told}" if peaks else ": there is no map of the image branch"
        canvas.headline(figure, f"What places of the image look at{told}")
        drawn = None
        for k, (line, each) in enumerate(zip(axes, found, strict=True)):
            canvas.show_image(line[0], generated, "image" if k == 0 else "")
            _dot(line[0], each.token, joint_shape(each), generated, str(k + 1))
            for place, (name, title) in zip(line[1:], COLUMNS.items(), strict=True):
                drawn = _panel(place, name, title if k == 0 else "", each, reference, generated, high) or drawn
        canvas.scale_bar(figure, drawn, axes, "attention, × even spread (one scale)")
        spent = ", ".join(f"place {k + 1} spends {each.onto_words:.0%} on words" for k, each in enumerate(found))
        canvas.note(figure, f"the highest hundredth lies above the scale; in the joint attention {spent}")
    return path


def joint_shape(view: PlaceViews) -> tuple[int, int]:
    """Rows and columns of the image tokens."""
    found = view.joint if view.joint is not None else view.back
    return (1, 1) if found is None else (found.shape[0], found.shape[1])


def _panel(
    axes: Any, name: str, title: str, each: PlaceViews, reference: Image.Image, generated: Image.Image, high: float
) -> Any:  # fmt: skip
    values = getattr(each, name)
    if values is None:
        canvas.no_map(axes, title)
        return None
    picture = reference if name in ("image", "text") else generated
    drawn = canvas.overlay(axes, picture, values, title, high=high)
    if name == "image" and each.patch is not None:
        _dot(axes, each.patch, values.shape, picture, "")
    if name == "joint":
        _dot(axes, each.token, values.shape, picture, "")
    return drawn


def _dot(axes: Any, at: tuple[int, int], grid: tuple[int, ...], picture: Image.Image, text: str) -> None:
    canvas.dot(axes, (at[1] + 0.5) * picture.width / grid[1], (at[0] + 0.5) * picture.height / grid[0], text)
