"""Opens picture files that a user or a dataset names, and PIL images, and refuses the ones that cannot be trusted."""

from __future__ import annotations

import re
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from dynaip.errors import InputError
from dynaip.notes import tell
from dynaip.paths import missing
from dynaip.suggest import one_line

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
"""Formats that are decoded; the list is short on purpose."""

MAX_PIXELS = 64_000_000
"""Largest picture by default, in pixels: checked against the header, before anything is decoded."""

_ADDRESS = re.compile(r"(https?|s3|gs|hf):/", re.IGNORECASE)


def open_file(path: Path, max_pixels: int) -> Image.Image:
    """Decode the first frame of a picture file, upright by its EXIF orientation, in the mode of the file."""
    _check_file(path)
    with _plain_errors(str(path), max_pixels), Image.open(path, formats=FORMATS) as image:
        return _upright(image, str(path), max_pixels)


def open_bytes(data: bytes, name: str, max_pixels: int) -> Image.Image:
    """Decode a picture that is part of another file (a table's cell, a shard's member), as a file is decoded."""
    if not data:
        raise InputError(f"{name} is empty: name another picture")
    with _plain_errors(name, max_pixels), Image.open(BytesIO(data), formats=FORMATS) as image:
        return _upright(image, name, max_pixels)


def open_image(image: Image.Image, name: str, max_pixels: int) -> Image.Image:
    """Decode a PIL image, which may be open only so far, as a file is decoded."""
    with _plain_errors(name, max_pixels):
        return _upright(image, name, max_pixels)


def check_pixels(width: int, height: int, name: str, max_pixels: int) -> None:
    """Refuse pictures without pixels, and those with more than ``max_pixels``."""
    if not width or not height:
        raise InputError(f"{name} has {width} x {height} pixels: give another picture")
    if width * height > max_pixels:
        raise InputError(f"{name} has {width} x {height} pixels: scale it below {max_pixels / 1e6:g} megapixels")


def _check_file(path: Path) -> None:
    try:
        size = path.stat().st_size
    except PermissionError as error:
        raise InputError(f"{path} may not be read: change its permissions") from error
    except (OSError, ValueError) as error:  # a name can be too long, or hold a null byte
        hint = " It is an address: download it first." if _ADDRESS.match(str(path)) else missing(path)
        raise InputError(f"{path}: there is no such picture.{hint}") from error
    if path.is_dir():
        raise InputError(f"{path} is a folder: name a picture file")
    if not path.is_file():
        raise InputError(f"{path} is no file: name a picture file")
    if size == 0:
        raise InputError(f"{path} is empty: name another picture")


@contextmanager
def _plain_errors(name: str, max_pixels: int) -> Generator[None]:
    """Whatever Pillow stumbles over becomes one line that names the picture."""
    try:
        with warnings.catch_warnings():
            # Our own cap is stricter than Pillow's warning, and what it says of odd metadata is no concern of the user.
            warnings.filterwarnings("ignore", module="PIL")
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            yield
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise InputError(f"{name} is no picture that can be read: save it as {', '.join(FORMATS[:3])}") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"{name} is too large: scale it below {max_pixels / 1e6:g} megapixels") from error
    except PermissionError as error:
        raise InputError(f"{name} may not be read: change its permissions") from error
    except Exception as error:  # Pillow's decoders raise whatever a broken file makes them stumble over
        raise InputError(f"{name} is damaged or truncated ({one_line(error)}): name another picture") from error


def _upright(image: Image.Image, name: str, max_pixels: int) -> Image.Image:
    check_pixels(*image.size, name, max_pixels)
    frames = getattr(image, "n_frames", 1)
    image.load()
    if frames > 1 and image.format != "MPO":  # a photograph with a preview beside it
        tell(f"{name} has {frames} frames: frame {image.tell() + 1} alone is read", kind="frames")
    return ImageOps.exif_transpose(image)
