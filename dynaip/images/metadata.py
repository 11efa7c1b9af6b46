"""Text kept inside a PNG, for whoever asks later how the picture was made."""

from __future__ import annotations

from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from dynaip.atomic import write_image
from dynaip.errors import InputError
from dynaip.images.files import MAX_PIXELS, open_file

LONGEST = 1_000_000
"""Characters of a text that is read; Pillow itself refuses ones that unpack to more than it allows."""


def write_with_text(path: Path, image: Image.Image, text: str, name: str) -> bool:
    """Write a picture, with a text of this name in it where the format is PNG; tell whether the text is in it."""
    if path.suffix.lower() != ".png" or not text:
        write_image(path, image)
        return False
    kept = PngInfo()
    kept.add_itxt(name, text, zip=True)
    write_image(path, image, pnginfo=kept)
    return True


def read_text(path: Path, name: str) -> str:
    """Give the text of this name in a picture; empty if it has none. ``InputError`` if the picture cannot be read."""
    open_file(path, MAX_PIXELS)  # whole, small enough, and of a format that is read
    with Image.open(path, formats=("PNG",)) if path.suffix.lower() == ".png" else Image.open(path) as image:
        found = image.info.get(name, "")
    if not isinstance(found, str) or len(found) > LONGEST:
        raise InputError(f"{path}: its text {name!r} is no text, or longer than {LONGEST:,} characters")
    return str(found)
