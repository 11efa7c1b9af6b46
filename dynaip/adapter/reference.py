"""References and their regions: what the user gives, checked, and brought onto the grid of image tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dynaip.contracts import Box
from dynaip.errors import InputError
from dynaip.images import read_mask, read_picture
from dynaip.images.fit import FITS, Fit, squared
from dynaip.numeric import four_numbers, weight_from
from dynaip.suggest import did_you_mean

Picture = str | Path | Image.Image | np.ndarray[Any, Any] | Tensor
Region = Box | Picture


@dataclass(frozen=True, eq=False)
class Reference:
    """One subject: a picture of it, where it may appear, and how strongly it acts.

    ``image``: a path, a PIL image, an array (height x width x 3; bool, uint8, uint16, or floats in [0, 1]) or a tensor
    (3 x height x width). ``region``: a box (left, top, right, bottom in [0, 1]), a mask of any size in any of these forms
    (grey values, or the alpha channel where the colours say nothing), or None for everywhere. ``scale``: s_r from 0 to
    1000; 0 costs nothing and changes nothing. ``fit``: how a picture that is not square becomes square, ``crop`` (its
    middle) or ``pad`` (all of it, with white beside it); None leaves that to the encoder. Picture and mask are read once,
    here. Raises ``InputError`` for anything else.
    """

    image: Picture
    region: Region | None = None
    scale: float = 1.0
    fit: Fit | None = None
    _picture: Image.Image = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", weight_from(self.scale, f"{self.name}: scale "))
        if self.fit not in (None, *FITS):
            raise InputError(
                f"{self.name}: fit {self.fit!r} must be {' or '.join(FITS)}.{did_you_mean(str(self.fit), FITS)}"
            )
        if isinstance(self.region, (tuple, list)) or getattr(self.region, "ndim", 0) == 1:
            object.__setattr__(self, "region", check_box(self.region, self.name))
        elif self.region is not None:
            object.__setattr__(self, "region", torch.from_numpy(read_mask(self.region, self.name)))
        picture = read_picture(self.image, "" if isinstance(self.image, (str, Path)) else self.name)
        object.__setattr__(self, "_picture", squared(picture, self.fit) if self.fit else picture)

    @property
    def name(self) -> str:
        """What error messages call the reference."""
        if isinstance(self.image, (str, Path)):
            return f"reference {self.image}"
        return f"reference of type {type(self.image).__name__}"

    def picture(self) -> Image.Image:
        """Give the reference as an RGB image; square if a fit was chosen."""
        return self._picture

    def weights(self, grid: tuple[int, int]) -> Tensor | None:
        """M_r on a grid of (rows, columns) image tokens: T values in [0, 1], or None for 1 everywhere."""
        if self.region is None:
            return None
        weights = region_weights(cast("Box | Tensor", self.region), grid)
        if weights.max() == 0:
            raise InputError(f"{self.name}: the region vanishes on {grid[0]} x {grid[1]} image tokens; make it larger")
        return weights


def region_weights(region: Box | Tensor, grid: tuple[int, int]) -> Tensor:
    """M_r of a checked box or a mask (height x width in [0, 1]) on a grid of (rows, columns) image tokens: T values."""
    return _box_weights(region, grid) if isinstance(region, tuple) else _mask_weights(region, grid)


def check_box(box: Any, name: str) -> Box:
    """Check left, top, right, bottom in [0, 1] with an area; ``InputError`` names the rule that is broken.

    They may be a list, an array or a tensor, of Python's numbers or others'.
    """
    edges, given = four_numbers(box), box if isinstance(box, (tuple, list)) else box.tolist()
    shown = f"({', '.join(str(edge) for edge in given)})"
    if edges is None:
        raise InputError(f"{name}: a region is left, top, right, bottom, not {shown}")
    left, top, right, bottom = edges
    if min(left, top) < 0 or max(right, bottom) > 1:
        raise InputError(f"{name}: region {shown} lies outside the image; its edges must be within 0 and 1")
    if left >= right or top >= bottom:
        raise InputError(f"{name}: region {shown} has no area; left must be < right and top < bottom")
    return left, top, right, bottom


def _coverage(start: Tensor, end: Tensor, cells: int) -> Tensor:
    """Share of each of ``cells`` equal cells of [0, 1] that lies within each span (start, end): cells x spans."""
    edges = torch.linspace(0, 1, cells + 1, dtype=torch.float64)[:, None]
    inside = torch.minimum(edges[1:], end) - torch.maximum(edges[:-1], start)
    return inside.clamp(min=0) * cells


def _box_weights(box: Box, grid: tuple[int, int]) -> Tensor:
    left, top, right, bottom = torch.tensor(box, dtype=torch.float64)
    weights = torch.outer(_coverage(top, bottom, grid[0])[:, 0], _coverage(left, right, grid[1])[:, 0])
    return _rounded(weights)


def _mask_weights(values: Tensor, grid: tuple[int, int]) -> Tensor:
    """Mean of the mask over each cell's area, exactly, whatever the sizes."""
    by_row, by_column = (_pixel_shares(cells, pixels) for cells, pixels in zip(grid, values.shape, strict=True))
    return _rounded(by_row @ values.double() @ by_column.T)


def _pixel_shares(cells: int, pixels: int) -> Tensor:
    edges = torch.linspace(0, 1, pixels + 1, dtype=torch.float64)
    return _coverage(edges[:-1], edges[1:], cells)


def _rounded(weights: Tensor) -> Tensor:
    # What rounding errors of the edges leave in a neighbouring cell would cost an attention row.
    return weights.clamp(0, 1).float().round(decimals=5).flatten()


def as_samples(references: Sequence[Any], limit: int) -> list[list[Reference]]:
    """Sort what ``references()`` was given into one list a prompt; a flat list is one sample that serves every prompt."""
    if all(isinstance(item, Reference) for item in references):
        samples: list[list[Any]] = [list(references)]
    elif any(isinstance(item, Reference) for item in references):
        raise InputError("references: give either references, or one list of references a prompt, not both")
    else:
        samples = [list(item) if isinstance(item, (list, tuple)) else [item] for item in references]  # pyright: ignore[reportUnknownArgumentType]
    for number, sample in enumerate(samples):
        wrong = next((item for item in sample if not isinstance(item, Reference)), None)
        if wrong is not None:
            raise InputError(
                f"references of prompt {number}: write Reference(...) around {type(wrong).__name__} objects"
            )
        if len(sample) > limit:
            raise InputError(
                f"prompt {number} has {len(sample)} references; the adapter allows {limit} (max_references)"
            )
    return samples


def normalised(weights: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Scale overlapping regions of one sample so that their weights sum to at most 1 on every token (ours)."""
    given = [weight for weight in weights if weight is not None]
    if len(given) < 2:
        return list(weights)
    total = torch.stack(given).sum(0).clamp(min=1)
    return [None if weight is None else weight / total for weight in weights]
