"""Files and folders that are complete or absent: they are written beside their place and put there when they are whole."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynaip.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image
    from torch import Tensor


@contextmanager
def replacing(path: Path) -> Generator[Path]:
    """Give a file beside ``path`` to write to, and put it in its place on leaving; an exception leaves nothing behind.

    The file's name ends in ``.part`` (nothing that looks for pictures or tables finds it), so writers are told the format.
    It is this writer's own: where several write the same file at once, the last one's stays, whole. Who may read it is what the
    system gives every file (the umask), also where a library writes for its own user alone.
    Raises ``InputError`` if a folder lies where the file should be.
    """
    check_file(path)
    make_folder(path.parent)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    part.touch()
    rights = part.stat().st_mode
    part.unlink()
    try:
        yield part
        _allow(part, rights)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Generator[Path]:
    """Give an empty folder beside ``path`` to fill, and put it in its place on leaving, for good even if the power fails.

    Raises ``InputError`` if a file lies where the folder should be: it is the user's, and never removed.
    """
    check_folder(path)
    part = path.with_name(f".{path.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    make_folder(part)
    try:
        yield part
        usual_rights(part)
        for entry in (*part.rglob("*"), part):
            sync(entry)
        shutil.rmtree(path, ignore_errors=True)
        os.replace(part, path)
        sync(path.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def usual_rights(folder: Path) -> None:
    """Let whoever may enter a folder read its files, as the system gives them: safetensors writes for its own user alone."""
    rights = folder.stat().st_mode & 0o666
    for path in folder.rglob("*"):
        if path.is_file():
            _allow(path, rights)


def _allow(path: Path, rights: int) -> None:
    if path.stat().st_mode & 0o666 != rights & 0o666:
        with suppress(OSError):  # a file system without rights
            path.chmod(rights & 0o666)


def make_folder(path: Path) -> None:
    """Make a folder and those above it; ``InputError`` names the file that lies where one of them should be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        for folder in (*reversed(path.parents), path):
            check_folder(folder)
        raise


def check_file(path: Path) -> None:
    """Raise ``InputError`` if a folder lies where a file is about to be written."""
    if path.is_dir():
        raise InputError(f"{path} is a folder, and a file has to be there: remove it or give it another name")


def check_folder(path: Path) -> None:
    """Raise ``InputError`` if a file lies where a folder should be."""
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file, and a folder has to be there: remove it or give it another name")


def sync(path: Path) -> None:
    """Wait until a file or folder is on the disk, where the system can do that."""
    if os.name == "nt" and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write a text file (UTF-8)."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any, indent: int | None = 2) -> None:
    """Write plain data as JSON."""
    write_text(path, json.dumps(value, indent=indent) + "\n")


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as parquet, with checksums that tell a damaged one when it is read."""
    with replacing(path) as part:
        table.to_parquet(part, index=False, write_page_checksum=True)


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write named tensors as safetensors, from whatever device they are on."""
    from safetensors.torch import save_file

    with replacing(path) as part:
        save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, part)


def write_image(path: Path, image: Image.Image, **options: Any) -> None:
    """Write a picture in the format that the file's name says, with Pillow's ``options`` of that format."""
    from PIL import Image

    with replacing(path) as part:
        image.save(part, format=Image.registered_extensions()[path.suffix.lower()], **options)
