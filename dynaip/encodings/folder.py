"""The folder of encodings as a whole: where it lies, what is in it, what is damaged, and what may go.

A collection is what one set of frozen models makes of one source: ``latents-…``, ``levels-…`` or ``text-…`` with a
``depends.json`` that says of what, and a shard for every block of pairs. Nothing here imports torch until a shard is read.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dynaip.errors import InputError
from dynaip.paths import at_home

VARIABLE = "DYNAIP_ENCODINGS"
"""Environment variable that says where encodings lie unless a config does."""
DEPENDS, USED = "depends.json", ".used"
SHARDS = "*.safetensors"
BUSY = 3600.0
"""Seconds since its last use for which a collection counts as in use, and a file that is being written as unfinished."""
PARTS = ("latents", "levels", "text")


@dataclass(frozen=True)
class Collection:
    """One collection on disk."""

    path: Path
    bytes: int
    shards: int
    used: float
    """When it was last used, in seconds of the system's clock."""
    depends: dict[str, Any]

    @property
    def part(self) -> str:
        """Which part of a pair it holds: latents, levels or text."""
        return self.path.name.partition("-")[0]

    @property
    def busy(self) -> bool:
        """Whether it was used within the last hour, so that a training may be reading it."""
        return time.time() - self.used < BUSY


def default_folder() -> Path:
    """Where encodings lie: ``DYNAIP_ENCODINGS``, or else ``dynaip/encodings`` in the user's cache."""
    if named := os.environ.get(VARIABLE, "").strip():
        return at_home(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dynaip" / "encodings"


def collections(folder: Path) -> list[Collection]:
    """What lies in a folder of encodings, the least recently used first."""
    found = [_collection(path) for path in folder.glob("*-*") if path.is_dir() and _is_one(path)]
    return sorted(found, key=lambda one: (one.used, one.path.name))


def _is_one(path: Path) -> bool:
    """Nothing else is ever counted or removed: the folder may hold what is somebody's own."""
    return path.name.partition("-")[0] in PARTS and (path / DEPENDS).is_file()


def _collection(path: Path) -> Collection:
    sizes: list[int] = []
    for file in path.iterdir():
        try:
            sizes.append(file.stat().st_size)
        except FileNotFoundError:  # another process put its shard in place just now
            continue
    marks = [file.stat().st_mtime for file in (path / USED, path / DEPENDS) if file.exists()]
    try:
        depends: Any = json.loads((path / DEPENDS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        depends = {}
    shards = sum(1 for _ in path.glob(SHARDS))
    return Collection(path, sum(sizes), shards, max(marks, default=0.0), depends if isinstance(depends, dict) else {})


def damaged(folder: Path, names: Sequence[str] = ()) -> Iterator[tuple[Path, str]]:
    """Read every shard of the collections (all of them without names) and give those that are damaged, with the reason."""
    from dynaip.encodings.shards import Damaged, read_all

    for collection in chosen(folder, names):
        for file in sorted(collection.path.glob(SHARDS)):
            try:
                read_all(file)
            except Damaged as error:
                yield file, str(error)


def chosen(folder: Path, names: Sequence[str] = ()) -> list[Collection]:
    """The collections of these names, or all; ``InputError`` for a name that is none."""
    there = {one.path.name: one for one in collections(folder)}
    for name in names:
        if name not in there:
            raise InputError(f"{folder} holds no encodings {name}; there are {', '.join(there) or 'none'}")
    return [there[name] for name in names] if names else list(there.values())


def prune(folder: Path, limit: float, *, keep: Sequence[Path] = ()) -> list[Collection]:
    """Remove the least recently used collections until ``limit`` bytes hold; give those that went.

    What is in ``keep`` or was used within the last hour stays. Files that a killed process left unfinished go in any case.
    """
    there, gone = collections(folder), list[Collection]()
    for one in there:
        remove_leftovers(one.path)
    size = sum(one.bytes for one in there)
    for one in there:
        if size <= limit:
            break
        if one.path not in keep and not one.busy:
            remove(one)
            gone.append(one)
            size -= one.bytes
    return gone


def remove(collection: Collection) -> None:
    """Remove a collection, first what makes it one, so that a process that is killed meanwhile leaves nothing that is half."""
    (collection.path / DEPENDS).unlink(missing_ok=True)
    shutil.rmtree(collection.path, ignore_errors=True)


def remove_leftovers(path: Path) -> None:
    """Remove files that nobody writes any more."""
    for part in path.glob(".*.part"):
        try:
            if time.time() - part.stat().st_mtime > BUSY:
                part.unlink(missing_ok=True)
        except FileNotFoundError:
            continue
