"""What lies where in a tar file: found out once by its headers; nothing is unpacked, and no link is followed."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynaip.errors import InputError
from dynaip.suggest import one_line
from dynaip_plugins.shared.pictures import file_digest
from dynaip_plugins.shared.remembered import remembered

PICTURES = ("png", "jpg", "jpeg", "webp", "bmp", "tif", "tiff", "gif")
TEXTS = ("json", "txt")
"""Endings of the members that are read; all others are passed over."""
LARGEST = 2**28
"""Bytes of a member that is read at most."""


@dataclass(frozen=True)
class Member:
    """A part of a sample."""

    offset: int
    size: int


@dataclass(frozen=True)
class ShardIndex:
    """The samples of a shard."""

    keys: NDArray[np.str_]
    starts: NDArray[np.int64]
    """Where the members of each sample begin among all, and the end of the last one's."""
    parts: NDArray[np.str_]
    """Names of parts."""
    codes: NDArray[np.int64]
    """Per member: its part."""
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    fault: str
    """Why the shard ends before its end; empty if it does not. Its last sample is then what was cut off."""

    def __len__(self) -> int:
        return len(self.keys)

    def members(self, sample: int) -> dict[str, Member]:
        """Part -> where it lies."""
        span = range(int(self.starts[sample]), int(self.starts[sample + 1]))
        return {
            str(self.parts[self.codes[each]]): Member(int(self.offsets[each]), int(self.sizes[each])) for each in span
        }


def index_of(file: Path, key: Any) -> ShardIndex:
    """The index of a shard, made once for its ``key``; ``InputError`` if it is no tar file, or a compressed one."""
    kept = remembered("shard", [key, file_digest(file)], lambda: _indexed(file))
    arrays: dict[str, Any] = {name: kept[name] for name in ("keys", "starts", "parts", "codes", "offsets", "sizes")}
    return ShardIndex(**arrays, fault=str(kept["fault"][0]))


def _indexed(file: Path) -> Mapping[str, NDArray[Any]]:
    keys, starts, parts, codes, offsets, sizes = (
        list[str](),
        list[int](),
        dict[str, int](),
        list[int](),
        list[int](),
        list[int](),
    )
    seen, inside, fault = dict[str, int](), set[str](), ""
    whole, before = file.stat().st_size, None
    for member in _members(file):
        if isinstance(member, str):
            fault = member
            break
        key, part = _named(member.name)
        if not member.isreg() or part is None:
            continue
        if key != before or part in inside:
            seen[key] = seen.get(key, 0) + 1
            keys.append(key if seen[key] == 1 else f"{key}#{seen[key]}")
            starts.append(len(codes))
            before, inside = key, set()
        inside.add(part)
        codes.append(parts.setdefault(part, len(parts)))
        offsets.append(member.offset_data)
        sizes.append(member.size)
        if member.offset_data + member.size > whole:
            fault = "it ends in the middle of a member"
            break
    if fault and not keys:
        raise InputError(f"{file} is no tar file that can be read ({fault}): unpack it if it is compressed")
    return {
        "keys": np.array(keys, dtype=np.str_), "starts": np.array([*starts, len(codes)], dtype=np.int64),
        "parts": np.array(list(parts), dtype=np.str_), "codes": np.array(codes, dtype=np.int64),
        "offsets": np.array(offsets, dtype=np.int64), "sizes": np.array(sizes, dtype=np.int64),
        "fault": np.array([fault]),
    }  # fmt: skip


def _members(file: Path) -> Iterator[tarfile.TarInfo | str]:
    """The members of a tar file in order; a text says why there are no more than were given."""
    try:
        with tarfile.open(file, "r:") as opened:
            for member in opened:
                yield member
                opened.members = []  # pyright: ignore[reportAttributeAccessIssue]  # it would remember all of them
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        yield one_line(error)


def _named(name: str) -> tuple[str, str | None]:
    """Key and part of a member; no part for what is not read."""
    folder, _, base = name.removeprefix("./").rpartition("/")
    stem, _, rest = base.partition(".")
    ending = rest.rpartition(".")[2].lower()
    if not stem or base.startswith(".") or ending not in (*PICTURES, *TEXTS):
        return "", None
    part = rest[: -len(ending) - 1] if ending in PICTURES and "." in rest else rest
    return f"{folder}/{stem}" if folder else stem, part
