"""Pairs from a folder in the imagefolder convention: images beside a ``metadata.jsonl`` that names them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynaip.contracts import Pair, PairSource
from dynaip.errors import BadSample, InputError
from dynaip.images import load_image
from dynaip.paths import missing
from dynaip_plugins.shared.pictures import file_digest, found, inside, picture_sizes, short_digest
from dynaip_plugins.shared.targets import Targets

from .config import FolderPairsConfig

METADATA = "metadata.jsonl"


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
        self.targets = Targets(config)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Pair:
        """Read one pair; ``BadSample`` with the reason if a picture cannot be used."""
        entry = self.entries[index]
        try:
            reference, target = load_image(found(entry.reference)), load_image(found(entry.target))
        except InputError as error:
            raise BadSample(f"line {entry.line}: {error}") from error
        fitted = self.targets.fitted(target, str(entry.target)).image
        return Pair(f"{METADATA}:{entry.line}", reference, fitted, entry.prompt, entry.subject)

    def name(self, index: int) -> str:
        """The line of the metadata."""
        return f"{METADATA}:{self.entries[index].line}"

    def sizes(self) -> list[tuple[int, int]] | None:
        """The bucket of every target, from the headers of the pictures; None where all take one size."""
        if not self.targets.bucketed:
            return None
        chosen = self.targets.choose(self.picture_sizes())
        return [self.targets.sizes[number] for number in chosen]

    def picture_sizes(self) -> NDArray[np.int64]:
        """(height, width) of the targets' pictures; 0, 0 for those that cannot be read."""
        return picture_sizes(entry.target for entry in self.entries)

    def fingerprint(self) -> Mapping[str, Mapping[str, str]]:
        """Digests of prompt, subject and pictures by line of the metadata."""
        read = cache(file_digest)
        return {
            f"{METADATA}:{entry.line}": {
                "prompt": short_digest(entry.prompt.encode()),
                "subject": short_digest(entry.subject.encode()),
                "reference": read(entry.reference),
                "target": read(entry.target),
            }
            for entry in self.entries
        }


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
    reference, target = (inside(folder, row[name], f"{where}: {name}") for name in ("reference", "target"))
    return PairFiles(number, reference, target, row["prompt"], row.get("subject", ""))
