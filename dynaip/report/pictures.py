"""Pictures inside the page: every image becomes a data URI, so that the report is one file."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image

from dynaip.errors import DynaIPError, InputError
from dynaip.images import load_image
from dynaip.notes import tell
from dynaip.reading import check_picture
from dynaip.suggest import one_line

LONGEST = 256
"""Generated pictures larger than this are shown smaller; smaller ones stay as they are, pixel for pixel."""
TYPES = {".png": "image/png", ".svg": "image/svg+xml"}


def data_uri(content: bytes, kind: str) -> str:
    """A data URI of some bytes."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def thumbnail(path: Path | None) -> tuple[str | None, str]:
    """A thumbnail as data URI, or None and why there is none: ``missing`` or ``damaged``."""
    if path is None or not path.is_file():
        return None, "missing"
    try:
        check_picture(path)
        return _scaled(load_image(path)), ""
    except Exception as error:  # Pillow raises whatever the bytes make of it
        tell(str(error) if isinstance(error, DynaIPError) else f"{path} is damaged: {one_line(error)}", kind="pictures")
        return None, "damaged"


def _scaled(image: Image.Image) -> str:
    target = io.BytesIO()
    if max(image.size) <= LONGEST:
        image.save(target, "PNG")  # `optimize` takes eight times as long and saves three bytes in a hundred
        return data_uri(target.getvalue(), "image/png")
    image.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
    image.save(target, "WEBP", quality=85)
    return data_uri(target.getvalue(), "image/webp")


def printed_width(path: Path) -> int | None:
    """Width in CSS pixels (96 an inch) that shows a PNG's type as large as it was set; None if it names no resolution."""
    if path.suffix.lower() != ".png" or not path.is_file():
        return None
    try:
        with Image.open(path) as image:
            dots = float(image.info.get("dpi", (0, 0))[0])
            return round(image.width * 96 / dots) if dots > 1 else None
    except OSError:
        return None


def figure(path: Path) -> str:
    """A figure (PNG or SVG) as it is, as data URI; ``InputError`` if it is missing, damaged or of another type."""
    kind = TYPES.get(path.suffix.lower())
    if kind is None:
        raise InputError(f"{path} is neither PNG nor SVG")
    if path.suffix.lower() == ".png":
        check_picture(path)
    try:
        return data_uri(path.read_bytes(), kind)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from error
