"""How a picture that is not square becomes the square that an encoder reads, and what of it is lost."""

from __future__ import annotations

from typing import Literal

from PIL import Image

from dynaip.notes import tell

Fit = Literal["crop", "pad"]

FITS: tuple[Fit, ...] = ("crop", "pad")
ASPECT = 1.5
"""A middle crop of longer pictures is told."""
ENLARGED = 3
"""Enlarging by as much or more is told."""
LONGEST = 2048
"""Edge of a padded picture at most, in pixels: beside a long thin one the white would not fit into memory."""


def squared(image: Image.Image, fit: Fit) -> Image.Image:
    """Make an RGB picture square: its middle (``crop``), or all of it with white beside it (``pad``)."""
    width, height = image.size
    if width == height:
        return image
    if fit == "crop":
        edge = min(width, height)
        left, top = (width - edge) // 2, (height - edge) // 2
        return image.crop((left, top, left + edge, top + edge))
    ratio = min(1.0, LONGEST / max(width, height))
    inner = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    edge = max(inner)
    canvas = Image.new("RGB", (edge, edge), "white")
    canvas.paste(image.resize(inner, Image.Resampling.BICUBIC), ((edge - inner[0]) // 2, (edge - inner[1]) // 2))
    return canvas


def tell_losses(image: Image.Image, name: str, fit: str | None, size: int) -> None:
    """Tell what an encoder of ``size`` pixels does not see of a picture, or sees enlarged heavily."""
    width, height = image.size
    short, long = sorted(image.size)
    if fit == "crop" and long > ASPECT * short:
        tell(
            f"{name} has {width} x {height} pixels, and its middle {short} x {short} alone is seen: crop it yourself, or "
            "set fit to pad",
            kind="crop",
        )
    edge = long if fit == "pad" else short
    if size >= ENLARGED * edge:
        tell(
            f"{name} has {width} x {height} pixels and is enlarged {size / edge:.1f} times for the encoder: give a larger "
            "one",
            kind="enlarged",
        )
