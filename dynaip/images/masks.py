"""Masks: whatever is given becomes weights in [0, 1], from its grey values or its alpha channel, or one line says why not."""

from __future__ import annotations

import os
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dynaip.errors import InputError
from dynaip.images.arrays import is_array, pixels_of, unit_mask
from dynaip.images.files import MAX_PIXELS, open_bytes, open_file, open_image
from dynaip.images.pictures import WIDE, plain_alpha
from dynaip.paths import at_home

Weights = NDArray[np.float32]

GREY = 16 / 255
"""Channels that differ by no more are grey: what JPEG leaves."""
UNIFORM = 2 / 255
"""Values that differ by no more say nothing."""


def read_mask(source: Any, name: str, *, max_pixels: int = MAX_PIXELS) -> Weights:
    """Read a path, a PIL image, an array or a tensor as a mask: height x width weights in [0, 1], upright by EXIF.

    Grey values are the weights (integers: 0 and 1, 0 to 255 or 0 to 65535), or the alpha channel where the colours that are
    seen say nothing. Raises ``InputError`` in one line that begins with ``name`` if it is empty, coloured, or no mask.
    """
    what = f"{name}: the mask"
    if isinstance(source, (str, os.PathLike)):
        values = _of_image(open_file(at_home(source), max_pixels))
    elif isinstance(source, bytes):
        values = _of_image(open_bytes(source, what, max_pixels))
    elif isinstance(source, Image.Image):
        values = _of_image(open_image(source, what, max_pixels))
    elif is_array(source):
        values = pixels_of(source, what, max_pixels, mask=True)
    else:
        raise InputError(f"{name}: a region is a box or a mask, not {type(source).__name__}")
    weights = _weights(values, what)
    if weights.max() == 0:
        raise InputError(f"{what} is empty; mark where the subject may appear")
    return weights


def _of_image(image: Image.Image) -> NDArray[Any]:
    """Height x width x channels, 1 to 4 of them, with alpha where the image has any transparency."""
    if image.mode in ("1", "L", *WIDE) or image.mode.startswith("I;16"):
        plain = image.convert("LA") if image.has_transparency_data else image
    else:
        plain = plain_alpha(image).convert("RGBA" if image.has_transparency_data else "RGB")
    values = np.asarray(plain)
    return values[:, :, None] if values.ndim == 2 else values


def _weights(values: NDArray[Any], name: str) -> Weights:
    """One weight a pixel from colours, or from alpha where only it says something."""
    has_alpha = values.shape[2] in (2, 4)
    colours = unit_mask(values[:, :, : values.shape[2] - has_alpha], name)
    alpha = unit_mask(values[:, :, -1], name) if has_alpha else None
    grey = colours.mean(2)
    coloured = bool((colours.max(2) - colours.min(2) > GREY).any())
    if alpha is not None and alpha.max() == 0 and np.ptp(grey) <= UNIFORM:
        return alpha  # nothing is to be seen at all
    if alpha is None or np.ptp(alpha) <= UNIFORM:
        return _marked(colours, name) if coloured else grey
    seen = colours[alpha > 0]
    if coloured or (np.ptp(seen, axis=0) <= UNIFORM).all() or np.abs(alpha - grey).max() <= GREY:
        return alpha
    raise InputError(f"{name} has grey values and an alpha channel that both vary; keep the one that marks the subject")


def _marked(colours: Weights, name: str) -> Weights:
    """A mask of one colour on black, such as those of segmentation data sets: what is not black is marked."""
    lit = colours.max(2) > 0
    if np.ptp(colours[lit], axis=0).max() <= UNIFORM:
        return cast(Weights, lit.astype(np.float32))
    raise InputError(f"{name} is coloured; give a grey picture, or one with an alpha channel")
