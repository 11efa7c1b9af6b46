"""Pairs from a folder in the imagefolder convention: images beside a ``metadata.jsonl`` that names them."""

from __future__ import annotations

import hashlib
import json
import os
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from dynaip.contracts import Pair, PairSource
from dynaip.errors import BadSample, InputError
from dynaip.images import load_image
from dynaip.images.fit import ASPECT, ENLARGED
from dynaip.notes import tell
from dynaip.paths import at_home, missing

from .config import FolderPairsConfig

METADATA = "metadata.jsonl"
WHOLE = 2**20
"""Bytes of a picture that are all part of its digest; of a larger one as many, evenly from its beginning to its end."""
BLOCK = 2**12


@dataclass(frozen=True)
class PairFiles:
    """One line of the metadata."""

    line: int
    reference: Path
    target: Path
    prompt: str
    subject: str


class FolderPairs(PairSource):
    """References and targets that the metadata names, read when they are asked for."""

    def __init__(self, config: FolderPairsConfig) -> None:
        self.config = config
        file = config.folder / METADATA
        if not file.is_file():
            hint = "" if config.folder.is_dir() else missing(config.folder)
            raise InputError(
                f"source.folder: {file} is missing; write one JSON line a pair: reference, target, prompt, subject.{hint}"
            )
        self.entries = [
            _entry(config.folder, f"{file}, line {number}", number, text)
            for number, text in enumerate(_lines(file), 1)
            if text.strip()
        ]
        if not self.entries:
            raise InputError(f"source.folder: {file} holds no pair")
        size = config.target_size()
        if size is None:
            raise InputError("source: give source.height and source.width, the size of the targets in pixels")
        self.size = size

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Pair:
        """Read one pair; ``BadSample`` with the reason if a picture cannot be used."""
        entry = self.entries[index]
        try:
            reference, target = load_image(_found(entry.reference)), load_image(_found(entry.target))
        except InputError as error:
            raise BadSample(f"line {entry.line}: {error}") from error
        return Pair(f"{METADATA}:{entry.line}", reference, self._fitted(target, entry), entry.prompt, entry.subject)

    def fingerprint(self) -> Mapping[str, Mapping[str, str]]:
        """Digests of prompt, subject and pictures by line of the metadata."""
        read = cache(_digest)
        return {
            f"{METADATA}:{entry.line}": {
                "prompt": _short(entry.prompt.encode()),
                "subject": _short(entry.subject.encode()),
                "reference": read(entry.reference),
                "target": read(entry.target),
            }
            for entry in self.entries
        }

    def _fitted(self, target: Image.Image, entry: PairFiles) -> Image.Image:
        """The target in the size of all targets, and a note where much of it is lost or made up."""
        height, width = self.size
        ratios = sorted((width / target.width, height / target.height))
        pixels, wanted = f"{target.width} x {target.height} pixels", f"{width} x {height}"
        if self.config.fit == "crop" and ratios[1] > ASPECT * ratios[0]:
            tell(
                f"{entry.target} has {pixels}, and its middle alone is trained on, as {wanted}: crop it yourself, or set "
                "source.fit to pad",
                kind="target cropped",
            )
        scale = ratios[1] if self.config.fit == "crop" else ratios[0]
        if scale >= ENLARGED:
            tell(
                f"{entry.target} has {pixels} and is enlarged {scale:.1f} times to {wanted}: give a larger one, or lower "
                "source.height and source.width",
                kind="target enlarged",
            )
        if self.config.fit == "pad":
            return ImageOps.pad(target, (width, height), Image.Resampling.LANCZOS, color="white")
        return ImageOps.fit(target, (width, height), Image.Resampling.LANCZOS)


def _lines(file: Path) -> list[str]:
    try:
        # Other line ends than \n may stand inside a JSON string.
        return file.read_text(encoding="utf-8-sig").split("\n")
    except ValueError as error:
        raise InputError(f"{file} is no UTF-8 text ({error}): save it as UTF-8") from error


def _entry(folder: Path, where: str, number: int, text: str) -> PairFiles:
    try:
        row: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: no JSON ({error})") from error
    if not isinstance(row, dict):
        raise InputError(f"{where}: write an object with reference, target, prompt")
    for name in ("reference", "target", "prompt"):
        if not isinstance(row.get(name), str) or not row[name].strip():
            raise InputError(f"{where}: {name} must be a text that is not empty")
    if not isinstance(row.get("subject", ""), str):
        raise InputError(f"{where}: subject must be a text")
    reference, target = (_inside(folder, row[name], f"{where}: {name}") for name in ("reference", "target"))
    return PairFiles(number, reference, target, row["prompt"], row.get("subject", ""))


def _inside(folder: Path, name: str, where: str) -> Path:
    """A path of the metadata, judged as it is written: it must not leave the folder. Links in it may lead anywhere."""
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


def _found(path: Path) -> Path:
    """The file that a path means: its name may stand on the disk in another Unicode form."""
    if os.path.lexists(path) or str(path).isascii():
        return path
    parent = path.parent if path == path.parent else _found(path.parent)
    return next((each for each in _entries(parent) if _same(each.name, path.name)), parent / path.name)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _same(one: str, other: str) -> bool:
    return unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other)


def _short(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]


def _digest(path: Path) -> str:
    """Digest of a picture's file: of all of it, or (a large one) of its size and of blocks all over it."""
    try:
        with _found(path).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            made = hashlib.sha256(str(size).encode())
            step = max(1, size // WHOLE) * BLOCK
            for start in (*range(0, size, step), max(0, size - BLOCK)):
                file.seek(start)
                made.update(file.read(BLOCK))
    except OSError:
        return "missing"
    return made.hexdigest()[:12]
