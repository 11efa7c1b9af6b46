"""Reads pictures that a user or a dataset names, and refuses the ones that cannot be trusted."""

from __future__ import annotations

import warnings
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from dynaip.errors import InputError
from dynaip.suggest import one_line

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
"""Formats that are decoded; the list is short on purpose."""

MAX_PIXELS = 64_000_000
"""Largest picture by default, in pixels: checked against the header, before anything is decoded."""


def load_image(source: str | Path, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Read a picture file as RGB, upright by its EXIF orientation, transparent parts on white.

    Raises ``InputError`` with one line that names the file and the reason: missing, a folder, empty, no picture, a
    format that is not read, more than ``max_pixels`` pixels, or truncated.
    """
    path = Path(source)
    _check_file(path)
    try:
        return _decode(path, max_pixels)
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise InputError(f"{path} is no picture that can be read: save it as {', '.join(FORMATS[:3])}") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"{path} is too large: scale it below {max_pixels / 1e6:g} megapixels") from error
    except PermissionError as error:
        raise InputError(f"{path} may not be read: change its permissions") from error
    except Exception as error:  # Pillow's decoders raise whatever a broken file makes them stumble over
        raise InputError(f"{path} is damaged or truncated ({one_line(error)}): name another picture") from error


def _check_file(path: Path) -> None:
    try:
        size = path.stat().st_size
    except (OSError, ValueError) as error:  # a name can be too long, or hold a null byte
        raise InputError(f"{path}: there is no such picture") from error
    if path.is_dir():
        raise InputError(f"{path} is a folder: name a picture file")
    if not path.is_file():
        raise InputError(f"{path} is no file: name a picture file")
    if size == 0:
        raise InputError(f"{path} is empty: name another picture")


def _decode(path: Path, max_pixels: int) -> Image.Image:
    with warnings.catch_warnings():
        # Our own cap is stricter than Pillow's warning, and what it says of odd metadata is no concern of the user.
        warnings.simplefilter("ignore")
        with Image.open(path, formats=FORMATS) as image:
            width, height = image.size
            if width * height > max_pixels:
                size = f"{width} x {height} pixels"
                raise InputError(f"{path} has {size}: scale it below {max_pixels / 1e6:g} megapixels")
            if image.mode in ("I", "F"):
                raise InputError(f"{path} has 32 bits a channel, of unknown range: save it with 8")
            image.load()
            return to_rgb(image)


def to_rgb(image: Image.Image) -> Image.Image:
    """Turn any picture into RGB: upright by EXIF, transparency composed on white, 16 bits of grey brought to 8."""
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16"):
        return _eight_bits(upright).convert("RGB")
    if upright.has_transparency_data:
        layer = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return upright.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey to 8 bits; Pillow's own conversion cuts everything above 255 off."""
    import numpy as np

    return Image.fromarray((np.asarray(image).astype(np.uint32) // 257).astype(np.uint8))
