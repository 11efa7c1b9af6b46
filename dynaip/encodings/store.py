"""Where the encodings of one training lie: a collection for each part of a pair, a shard for each block of pairs."""

from __future__ import annotations

import errno
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from dynaip import atomic
from dynaip.encodings import folder as folders
from dynaip.encodings import shards
from dynaip.errors import DynaIPError

TOUCH = 300.0
"""Seconds between marks of use."""


def key_of(depends: Mapping[str, Any]) -> str:
    """12 hex digits of what a collection depends on."""
    text = json.dumps(depends, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass
class EncodingStore:
    """Encodings of the pairs of one source by one set of frozen models.

    ``depends`` says for each part (latents, levels, text) what it depends on; ``blocks`` is the digest of what the source
    says of each block of pairs. A block whose pairs change has another digest, and thereby another file.
    """

    folder: Path
    depends: Mapping[str, Mapping[str, Any]]
    blocks: Sequence[str]
    touched: float = field(default=0.0, init=False)

    @cached_property
    def places(self) -> dict[str, Path]:
        """Part -> its collection's folder."""
        return {part: self.folder / f"{part}-{key_of(what)}" for part, what in self.depends.items()}

    def file(self, part: str, block: int) -> Path:
        """The shard of a block."""
        return self.places[part] / f"{block:07d}-{self.blocks[block]}.safetensors"

    def open(self) -> None:
        """Make the collections' folders, and write down what they depend on."""
        for part, place in self.places.items():
            if not (place / folders.DEPENDS).is_file():
                atomic.write_json(place / folders.DEPENDS, dict(self.depends[part]))
        self.touch()

    def touch(self) -> None:
        """Mark the collections as used, every few minutes: pruning leaves alone what is in use."""
        if time.monotonic() - self.touched < TOUCH and self.touched:
            return
        self.touched = time.monotonic()
        for place in self.places.values():
            if place.is_dir():
                (place / folders.USED).touch()

    def missing(self, block: int) -> list[str]:
        """Parts that have no shard for a block."""
        return [part for part in self.depends if not self.file(part, block).is_file()]

    def write(self, block: int, rows: Mapping[str, Mapping[int, Any]], details: Mapping[str, Any]) -> int:
        """Write parts of a block (part -> number of the pair -> value) and give their bytes.

        Raises ``DynaIPError`` if the disk is full; what was written before stays.
        """
        written = 0
        for part, values in rows.items():
            file = self.file(part, block)
            if not (file.parent / folders.DEPENDS).is_file():  # removed by hand meanwhile
                self.open()
            try:
                shards.write(file, values, details)
                written += file.stat().st_size
            except (OSError, SafetensorError) as error:
                if not _full(error):
                    raise
                raise DynaIPError(
                    f"{self.folder}: the disk is full: make room (dynaip cache list, dynaip cache prune), or name another "
                    "folder with training.cache_folder"
                ) from error
        return written

    def head(self, block: int) -> tuple[set[int], list[dict[str, Any]]]:
        """Pairs that all parts of a block hold, and the details of each part; ``Damaged`` if a part is not there."""
        heads = [shards.head(self.file(part, block)) for part in self.depends]
        return set.intersection(*(pairs for pairs, _ in heads)), [details for _, details in heads]

    def read(self, block: int, number: int) -> dict[str, Any]:
        """Part -> value of a pair; ``KeyError`` if it is not held, ``Damaged`` if it is not what was written."""
        return {part: shards.read(self.file(part, block), number) for part in self.depends}

    def read_block(self, block: int) -> dict[int, dict[str, Any]]:
        """Pairs that all parts of a block hold: number -> part -> value; ``Damaged`` if it is not what was written."""
        parts = {part: shards.read_all(self.file(part, block)) for part in self.depends}
        numbers = set.intersection(*(set(found) for found in parts.values()))
        return {number: {part: found[number] for part, found in parts.items()} for number in sorted(numbers)}

    def drop(self, block: int) -> None:
        """Remove a damaged block, so that it is made again."""
        for part in self.depends:
            self.file(part, block).unlink(missing_ok=True)


def _full(error: Exception) -> bool:
    codes = (errno.ENOSPC, errno.EDQUOT)
    if isinstance(error, OSError):
        return error.errno in codes
    return any(f"os error {code})" in str(error) for code in codes)
