"""Shards by address: whole copies on the disk, as many as fit into a limit; which one is needed is known beforehand."""

from __future__ import annotations

import glob
import hashlib
import os
import re
import shutil
import urllib.request
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any

from dynaip.atomic import replacing
from dynaip.errors import BadSample, InputError
from dynaip.paths import at_home, missing
from dynaip.suggest import one_line
from dynaip_plugins.shared.remembered import folder

ADDRESS = re.compile(r"(https?|hf|file)://")
PIPE = re.compile(r"\s*pipe:")
RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
WAIT = 60
"""Seconds without an answer after which a copy is given up."""


def expanded(given: list[str]) -> list[str]:
    """Paths and addresses of all shards; ``InputError`` for a pattern that matches nothing."""
    found = [shard for each in given for ranged in _ranged(each) for shard in _matching(ranged)]
    return list(dict.fromkeys(found))


def _ranged(text: str) -> list[str]:
    """``{000..101}`` written out."""
    pieces = RANGE.split(text)
    plain, spans = pieces[::3], list(zip(pieces[1::3], pieces[2::3], strict=True))
    numbers = [[str(each).zfill(len(first)) for each in range(int(first), int(last) + 1)] for first, last in spans]
    return [
        plain[0] + "".join(number + rest for number, rest in zip(chosen, plain[1:], strict=True))
        for chosen in product(*numbers)
    ]


def _matching(shard: str) -> list[str]:
    if PIPE.match(shard):
        raise InputError(f"source.shards: {shard}: commands are not run; name files or addresses")
    if ADDRESS.match(shard):
        return [shard]
    path = at_home(shard).absolute()
    found = [str(path)] if path.is_file() else sorted(glob.glob(str(path), recursive=True))
    if not found:
        raise InputError(f"source.shards: {path}: there is no such file.{missing(path)}")
    return found


class Copies:
    """Local files of shards; those by address are copied when they are asked for, and the oldest make room."""

    def __init__(self, limit_gb: float) -> None:
        self.limit, self.folder = limit_gb * 1e9, folder() / "shards"

    def local(self, shard: str) -> Path:
        """The shard's file; ``BadSample`` with the reason if it cannot be had."""
        if not ADDRESS.match(shard):
            return Path(shard)
        file = self.folder / f"{hashlib.sha256(shard.encode()).hexdigest()[:24]}.tar"
        if file.exists():
            with suppress(OSError):
                os.utime(file)
            return file
        try:
            with replacing(file) as part, _opened(shard) as source, part.open("wb") as copy:
                shutil.copyfileobj(source, copy, 2**22)
        except Exception as error:  # whatever the network's clients raise
            raise BadSample(f"{shard} cannot be read ({one_line(error)})") from error
        self._make_room(file)
        return file

    def _make_room(self, newest: Path) -> None:
        """Remove those that were used longest ago; a process that still reads one keeps it until it closes it."""
        with suppress(OSError):
            files = sorted(self.folder.glob("*.tar"), key=lambda file: file.stat().st_mtime, reverse=True)
            total = 0
            for file in (newest, *(each for each in files if each != newest)):
                total += file.stat().st_size
                if total > self.limit and file != newest:
                    file.unlink(missing_ok=True)


def _opened(shard: str) -> Any:
    if shard.startswith("hf://"):
        from huggingface_hub import HfFileSystem

        return HfFileSystem().open(shard.removeprefix("hf://"), "rb")
    return urllib.request.urlopen(shard, timeout=WAIT)
