"""References and their regions: what the user gives, checked, and brought onto the grid of image tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from dynaip.contracts import Box
from dynaip.errors import InputError
from dynaip.images import load_image, to_rgb

Region = Box | Image.Image | np.ndarray[Any, Any] | Tensor


@dataclass(frozen=True, eq=False)
class Reference:
    """One subject: a picture of it, where it may appear, and how strongly it acts.

    ``image``: a path, a PIL image, an array (height x width x 3, uint8 or floats in [0, 1]) or a tensor (3 x height x width).
    ``region``: a box (left, top, right, bottom in [0, 1]), a mask of any size (values in [0, 1], or 0 to 255), or None for
    everywhere. ``scale``: s_r >= 0; 0 costs nothing and changes nothing. Raises ``InputError`` for anything else.
    """

    image: str | Path | Image.Image | np.ndarray[Any, Any] | Tensor
    region: Region | None = None
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.scale) and self.scale >= 0):
            raise InputError(f"{self.name}: scale {self.scale} must be a number from 0 up")
        if isinstance(self.region, (tuple, list)):
            object.__setattr__(self, "region", check_box(tuple(self.region), self.name))
        elif self.region is not None:
            mask_values(self.region, self.name)
        if isinstance(self.image, (str, Path)):
            self.picture()

    @property
    def name(self) -> str:
        """What error messages call the reference."""
        if isinstance(self.image, (str, Path)):
            return f"reference {self.image}"
        return f"reference of type {type(self.image).__name__}"

    def picture(self) -> Image.Image:
        """Give the reference as an RGB image."""
        image = self.image
        if isinstance(image, (str, Path)):
            return load_image(image)
        if isinstance(image, Image.Image):
            return to_rgb(image)
        return _from_array(image, self.name)

    def weights(self, grid: tuple[int, int]) -> Tensor | None:
        """M_r on a grid of (rows, columns) image tokens: T values in [0, 1], or None for 1 everywhere."""
        if self.region is None:
            return None
        if isinstance(self.region, tuple):
            return _box_weights(self.region, grid)
        return _mask_weights(mask_values(self.region, self.name), grid, self.name)


def check_box(box: Sequence[float], name: str) -> Box:
    """Check left, top, right, bottom in [0, 1] with an area; ``InputError`` names the rule that is broken."""
    if len(box) != 4 or not all(isinstance(edge, (int, float)) for edge in box):
        raise InputError(f"{name}: a region is left, top, right, bottom, not {tuple(box)}")
    left, top, right, bottom = (float(edge) for edge in box)
    if min(left, top) < 0 or max(right, bottom) > 1 or not np.isfinite(np.asarray(box, float)).all():
        raise InputError(f"{name}: region {tuple(box)} lies outside the image; its edges must be within 0 and 1")
    if left >= right or top >= bottom:
        raise InputError(f"{name}: region {tuple(box)} has no area; left must be < right and top < bottom")
    return left, top, right, bottom


def mask_values(mask: Region, name: str) -> Tensor:
    """Read a mask as a height x width tensor in [0, 1]; ``InputError`` if it is empty or no mask."""
    if isinstance(mask, Image.Image):
        values = torch.from_numpy(np.asarray(mask.convert("L"), dtype=np.float32) / 255)
    elif isinstance(mask, (np.ndarray, Tensor)):
        raw = torch.as_tensor(mask).detach().cpu()
        values = raw.float() / (255 if raw.dtype == torch.uint8 and raw.numel() and raw.max() > 1 else 1)
    else:
        raise InputError(f"{name}: a region is a box or a mask, not {type(mask).__name__}")
    values = values.squeeze()
    if values.ndim != 2:
        raise InputError(f"{name}: a mask has height and width, not the shape {tuple(torch.as_tensor(values).shape)}")
    if not torch.isfinite(values).all() or values.min() < 0 or values.max() > 1:
        raise InputError(f"{name}: the mask's values must lie within 0 and 1 (or 0 and 255 as uint8)")
    if values.max() == 0:
        raise InputError(f"{name}: the mask is empty; mark where the subject may appear")
    return values


def _coverage(start: float, end: float, cells: int) -> Tensor:
    """Share of each of ``cells`` equal cells of [0, 1] that lies within start and end."""
    edges = torch.linspace(0, 1, cells + 1, dtype=torch.float64)
    inside = torch.minimum(edges[1:], torch.tensor(end)) - torch.maximum(edges[:-1], torch.tensor(start))
    return (inside.clamp(min=0) * cells).float().round(decimals=5)


def _box_weights(box: Box, grid: tuple[int, int]) -> Tensor:
    left, top, right, bottom = box
    return torch.outer(_coverage(top, bottom, grid[0]), _coverage(left, right, grid[1])).flatten()


def _mask_weights(values: Tensor, grid: tuple[int, int], name: str) -> Tensor:
    weights = F.interpolate(values[None, None], size=grid, mode="area").flatten()
    if weights.max() == 0:
        raise InputError(f"{name}: the mask vanishes on the grid of {grid[0]} x {grid[1]} tokens; mark a larger part")
    return weights


def _from_array(array: Any, name: str) -> Image.Image:
    if not isinstance(array, (np.ndarray, Tensor)):
        raise InputError(f"{name}: an image is a path, a PIL image, an array or a tensor")
    values = torch.as_tensor(array).detach().cpu()
    if isinstance(array, Tensor) and values.ndim == 3:
        values = values.permute(1, 2, 0)
    if values.ndim != 3 or values.shape[-1] != 3 or 0 in values.shape:
        raise InputError(
            f"{name}: has the shape {tuple(array.shape)}; give height x width x 3, or a tensor 3 x height x width"
        )
    if values.dtype != torch.uint8:
        if not torch.isfinite(values.float()).all() or values.min() < 0 or values.max() > 1:
            raise InputError(f"{name}: floats of an image must lie within 0 and 1")
        values = (values.float() * 255).round().to(torch.uint8)
    return Image.fromarray(cast(Any, values.numpy()))


def as_samples(references: Sequence[Reference | Sequence[Reference]], limit: int) -> list[list[Reference]]:
    """Sort what ``references()`` was given into one list a prompt; a flat list is one sample that serves every prompt."""
    if all(isinstance(item, Reference) for item in references):
        samples = [list(cast(Sequence[Reference], references))]
    elif any(isinstance(item, Reference) for item in references):
        raise InputError("references: give either references, or one list of references a prompt, not both")
    else:
        samples = [list(cast(Sequence[Reference], item)) for item in references]
    for number, sample in enumerate(samples):
        if any(not isinstance(item, Reference) for item in sample):
            raise InputError(f"references of prompt {number}: every entry must be a Reference")
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
