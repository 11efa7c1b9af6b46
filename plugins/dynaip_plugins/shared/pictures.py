"""Files that a data set names: inside its folder, whatever Unicode form their names have, with digests and sizes."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dynaip.errors import InputError
from dynaip.images import FORMATS
from dynaip.paths import at_home

WHOLE = 2**20
"""Bytes of a file that are all part of its digest; of a larger one as many, evenly from its beginning to its end."""
BLOCK = 2**12
READERS = 16
"""Headers of pictures that are read at once."""
TURNED = (5, 6, 7, 8)
"""EXIF orientations that swap height and width."""
ORIENTATION = 0x0112


def inside(folder: Path, name: str, where: str) -> Path:
    """A path of a data set, judged as it is written: it must not leave the folder. Links in it may lead anywhere."""
    try:
        written = at_home(name)
    except RuntimeError as error:  # ~somebody
        raise InputError(f"{where}: {name!r} is no path ({error})") from error
    if "\0" in name:
        raise InputError(f"{where}: {name!r} is no path (it holds a null byte)")
    root = Path(os.path.normpath(folder))
    path = Path(os.path.normpath(root / written))
    if not any(path.is_relative_to(each) for each in (root, root.resolve())):
        raise InputError(f"{where}: {name} leaves the folder; name files below {folder}")
    return path


def found(path: Path) -> Path:
    """The file that a path means: its name may stand on the disk in another Unicode form."""
    if os.path.lexists(path) or str(path).isascii():
        return path
    parent = path.parent if path == path.parent else found(path.parent)
    return next((each for each in _entries(parent) if _same(each.name, path.name)), parent / path.name)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _same(one: str, other: str) -> bool:
    return unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other)


def short_digest(data: bytes) -> str:
    """Twelve hex digits of some bytes."""
    return hashlib.sha256(data).hexdigest()[:12]


def file_digest(path: Path) -> str:
    """Digest of a file: of all of it, or (a large one) of its size and of blocks all over it; ``missing`` without one."""
    try:
        with found(path).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            made = hashlib.sha256(str(size).encode())
            step = max(1, size // WHOLE) * BLOCK
            for start in (*range(0, size, step), max(0, size - BLOCK)):
                file.seek(start)
                made.update(file.read(BLOCK))
    except OSError:
        return "missing"
    return made.hexdigest()[:12]


def picture_sizes(pictures: Iterable[Path | bytes | None]) -> NDArray[np.int64]:
    """(height, width) of pictures as they are read, from their headers alone; 0, 0 for what is no picture."""
    with ThreadPoolExecutor(READERS) as pool:
        return np.array(list(pool.map(_size, pictures)), dtype=np.int64).reshape(-1, 2)


def _size(picture: Path | bytes | None) -> tuple[int, int]:
    if picture is None:
        return 0, 0
    try:
        opened = BytesIO(picture) if isinstance(picture, bytes) else found(picture)
        with Image.open(opened, formats=FORMATS) as image:
            turned = image.getexif().get(ORIENTATION, 1) in TURNED
            return (image.width, image.height) if turned else (image.height, image.width)
    except Exception:  # whoever reads the picture says what is wrong with it
        return 0, 0
