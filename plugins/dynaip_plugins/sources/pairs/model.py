"""Pairs from a folder in the imagefolder convention: images beside a ``metadata.jsonl`` that names them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from dynaip.contracts import Pair, PairSource
from dynaip.errors import BadSample, InputError
from dynaip.images import load_image

from .config import FolderPairsConfig

METADATA = "metadata.jsonl"


@dataclass(frozen=True)
class Entry:
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
            raise InputError(
                f"source.folder: {file} is missing; write one JSON line a pair: reference, target, prompt, subject"
            )
        self.entries = [
            _entry(config.folder, f"{file}, line {number}", number, text)
            for number, text in enumerate(_lines(file), 1)
            if text.strip()
        ]
        if not self.entries:
            raise InputError(f"source.folder: {file} holds no pair")

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Pair:
        """Read one pair; ``BadSample`` with the reason if a picture cannot be used."""
        entry = self.entries[index]
        try:
            reference, target = load_image(entry.reference), load_image(entry.target)
        except InputError as error:
            raise BadSample(f"line {entry.line}: {error}") from error
        size = (self.config.width, self.config.height)
        fitted = ImageOps.fit(target, size, Image.Resampling.LANCZOS)
        return Pair(f"{METADATA}:{entry.line}", reference, fitted, entry.prompt, entry.subject)


def _lines(file: Path) -> list[str]:
    try:
        # Other line ends than \n may stand inside a JSON string.
        return file.read_text(encoding="utf-8-sig").split("\n")
    except ValueError as error:
        raise InputError(f"{file} is no UTF-8 text ({error}): save it as UTF-8") from error


def _entry(folder: Path, where: str, number: int, text: str) -> Entry:
    try:
        row: Any = json.loads(text)
    except ValueError as error:
        raise InputError(f"{where}: no JSON ({error})") from error
    if not isinstance(row, dict):
        raise InputError(f"{where}: write an object with reference, target, prompt")
    for name in ("reference", "target", "prompt"):
        if not isinstance(row.get(name), str) or not row[name]:
            raise InputError(f"{where}: {name} must be a text that is not empty")
    if not isinstance(row.get("subject", ""), str):
        raise InputError(f"{where}: subject must be a text")
    reference, target = (_inside(folder, row[name], f"{where}: {name}") for name in ("reference", "target"))
    return Entry(number, reference, target, row["prompt"], row.get("subject", ""))


def _inside(folder: Path, name: str, where: str) -> Path:
    """A path of the metadata, which must not leave the folder."""
    root = folder.resolve()
    try:
        path = (root / name).resolve()
    except ValueError as error:
        raise InputError(f"{where}: {name!r} is no path ({error})") from error
    if Path(name).is_absolute() or not path.is_relative_to(root):
        raise InputError(f"{where}: {name} leaves the folder; name files below {folder}")
    return path
