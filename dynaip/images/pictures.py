"""Pictures: whatever is given becomes RGB with 8 bits, upright, or one line says why it cannot."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dynaip.errors import InputError
from dynaip.images.arrays import eight_bits, is_array, pixels_of
from dynaip.images.files import MAX_PIXELS, open_bytes, open_file, open_image
from dynaip.notes import tell
from dynaip.paths import at_home

WIDE = ("I", "F")
"""Modes of more than 8 bits; so are those that begin with ``I;16``."""
ORIENTATION = 0x0112
"""EXIF tag of how a picture is turned."""
LAYOUTS = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def read_picture(source: Any, name: str = "", *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Read a path, a file's bytes, a PIL image, an array or a tensor as RGB: upright by EXIF, transparent parts on white, 8 bits.

    Arrays are height x width, with 1 to 4 channels behind (tensors: before); bool, uint8, uint16, other integers from 0 to
    255, or floats in [0, 1]. ``name`` is what messages call it, a file's path by default. Raises ``InputError`` with one line
    that names it and the reason.
    """
    if isinstance(source, (str, os.PathLike)):
        path = at_home(source)
        return to_rgb(open_file(path, max_pixels), name or str(path))
    if isinstance(source, bytes):
        return to_rgb(open_bytes(source, name or "a picture", max_pixels), name or "a picture")
    name = name or f"picture of type {type(source).__name__}"
    if isinstance(source, Image.Image):
        return to_rgb(open_image(source, name, max_pixels), name)
    if not is_array(source):
        raise InputError(f"{name}: an image is a path, a PIL image, an array or a tensor")
    values = eight_bits(pixels_of(source, name, max_pixels), name)
    mode = LAYOUTS[values.shape[2]]
    return to_rgb(Image.fromarray(np.ascontiguousarray(values[:, :, 0] if mode == "L" else values), mode=mode), name)


def load_image(source: str | Path, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Read a picture file as RGB, upright by its EXIF orientation, transparent parts on white.

    Raises ``InputError`` with one line that names the file and the reason: missing, a folder, empty, no picture, a
    format that is not read, more than ``max_pixels`` pixels, or truncated.
    """
    return read_picture(source, max_pixels=max_pixels)


def plain_rgb(image: Image.Image, name: str) -> Image.Image:
    """A picture that a plugin gave, as every reader of it sees it: itself where it is upright RGB already."""
    upright = image.mode == "RGB" and not image.has_transparency_data and image.getexif().get(ORIENTATION, 1) == 1
    return image if upright else read_picture(image, name)


def to_rgb(image: Image.Image, name: str = "picture") -> Image.Image:
    """Turn a decoded picture into RGB: transparency composed on white, more than 8 bits brought to 8."""
    if image.mode in WIDE or image.mode.startswith("I;16"):
        values = eight_bits(np.asarray(image), f"{name}, of mode {image.mode}")
        return Image.fromarray(values).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = plain_alpha(image).convert("RGBA")
    opaque = layer.getchannel("A").getextrema()
    if opaque == (0, 0):
        raise InputError(f"{name} is wholly transparent: give a picture with something to see")
    if opaque != (255, 255):
        tell(f"{name} has transparent parts: they are put on white", kind="transparent")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def plain_alpha(image: Image.Image) -> Image.Image:
    """A grey picture with premultiplied alpha in a mode that every other mode can be made from."""
    return image.convert("LA") if image.mode == "La" else image
