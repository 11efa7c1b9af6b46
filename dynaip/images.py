"""Reads pictures that a user or a dataset names, and refuses the ones that cannot be trusted."""

from __future__ import annotations

import warnings
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from dynaip.errors import InputError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
"""Formats that are decoded; the list is short on purpose."""

MAX_PIXELS = 64_000_000
"""Largest picture by default, in pixels: checked against the header, before anything is decoded."""


def load_image(source: str | Path, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Read a picture file as RGB, upright by its EXIF orientation, transparent parts on white.

    Raises ``InputError`` with one line that names the file and the reason: missing, a folder, empty, no picture, a format
    that is not read, more than ``max_pixels`` pixels, or truncated.
    """
    path = Path(source)
    if not path.exists():
        raise InputError(f"{path}: there is no such picture")
    if not path.is_file():
        raise InputError(f"{path} is a folder: name a picture file")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty: name another picture")
    return _decode(path, max_pixels)


def _decode(path: Path, max_pixels: int) -> Image.Image:
    try:
        with warnings.catch_warnings():
            # Our own cap, checked on the next lines, is stricter than Pillow's warning.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                _check_size(path, image, max_pixels)
                image.load()
                return to_rgb(image)
    except UnidentifiedImageError as error:
        raise InputError(f"{path} is no picture that can be read: save it as {', '.join(FORMATS[:3])}") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"{path} is too large: scale it below {max_pixels / 1e6:g} megapixels") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise InputError(f"{path} is damaged or truncated ({error}): name another picture") from error


def _check_size(path: Path, image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise InputError(f"{path} has {width} x {height} pixels: scale it below {max_pixels / 1e6:g} megapixels")


def to_rgb(image: Image.Image) -> Image.Image:
    """Turn any picture into RGB: upright by EXIF, transparency composed on white."""
    upright = ImageOps.exif_transpose(image)
    if "A" in upright.getbands() or "transparency" in upright.info:
        layer = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return upright.convert("RGB")
