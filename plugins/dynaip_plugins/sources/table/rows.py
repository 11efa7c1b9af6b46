"""Rows of tables, found by their number without holding them: text files by where each row begins, parquet by row groups."""

from __future__ import annotations

import csv
import json
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynaip.errors import BadSample, InputError
from dynaip_plugins.shared.pictures import file_digest
from dynaip_plugins.shared.remembered import remembered

from . import scans
from .scans import FEW, csv_rows, entries, json_rows

Row = Mapping[str, Any]


class Rows(ABC):
    """The rows of one or more files of a kind."""

    files: Sequence[Any]
    names: Sequence[str] | None = None
    """The columns, where the files tell them all."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, row: int) -> Row:
        """One row; ``BadSample`` if it is none."""

    @abstractmethod
    def scan(self, columns: Sequence[str]) -> Iterator[Row | None]:
        """All rows in order, with these columns at least; None for what is no row."""

    @abstractmethod
    def name(self, row: int) -> str:
        """File and row, for messages."""

    @abstractmethod
    def digests(self) -> dict[str, str]:
        """Name of each file -> digest of its content."""

    def blocks(self) -> list[int] | None:
        """Numbers of rows that lie together; None if every row is as near as any other."""
        return None


class TextRows(Rows):
    """Rows of text files: where each begins is found out once, and it is read when it is asked for."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = list(files)
        self._digests = {str(file): file_digest(file) for file in self.files}
        found = [self._starts(file) for file in self.files]
        self.starts = [starts for starts, _ in found]
        """Per file: where each row begins, and where the last one ends."""
        self.heads = [_header(file) if file.suffix in (".csv", ".tsv") else [] for file in self.files]
        self.ends = [*accumulate(len(starts) - 1 for starts in self.starts)]
        self.lines = [lines for _, lines in found]

    def _starts(self, file: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        kind = file.suffix
        find = {".jsonl": _lines, ".ndjson": _lines, ".json": _listed}.get(kind, _csv_rows)
        state = file.stat()
        key = [str(file.resolve()), state.st_size, state.st_mtime_ns, self._digests[str(file)]]
        kept = remembered("edges", key, lambda: dict(zip(("starts", "lines"), find(file), strict=True)))
        return kept["starts"], kept["lines"]

    def __len__(self) -> int:
        return self.ends[-1]

    def _place(self, row: int) -> tuple[int, int]:
        number = bisect_right(self.ends, row)
        return number, row - (self.ends[number - 1] if number else 0)

    def __getitem__(self, row: int) -> Row:
        number, place = self._place(row)
        start, end = self.starts[number][place : place + 2].tolist()
        with self.files[number].open("rb") as file:
            file.seek(start)
            data = file.read(end - start)
        found = self._parsed(number, data)
        if isinstance(found, str):
            raise BadSample(f"{self.name(row)}: {found}")
        return found

    def scan(self, columns: Sequence[str]) -> Iterator[Row | None]:
        """All rows in order; None for what is no row."""
        for number, (path, head) in enumerate(zip(self.files, self.heads, strict=True)):
            if head:
                yield from csv_rows(path, int(self.starts[number][0]), head, _delimiter(path), columns)
            else:
                yield from self._scan_json(number)

    def _scan_json(self, number: int) -> Iterator[Row | None]:
        edges, first = self.starts[number], 0
        with self.files[number].open("rb") as file:
            while first < len(edges) - 1:
                last = max(first + 1, int(np.searchsorted(edges, edges[first] + scans.CHUNK)) - 1)
                file.seek(int(edges[first]))
                yield from self._together(number, file.read(int(edges[last] - edges[first])), edges[first : last + 1])
                first = last

    def _together(self, number: int, data: bytes, edges: NDArray[np.int64]) -> list[Row | None]:
        """The rows that begin at ``edges``: read at once, or in halves where one of them is none."""
        places, count = edges - edges[0], len(edges) - 1
        found = json_rows(data, places) if count > 1 else None
        if found is not None:
            return [row if isinstance(row, dict) else None for row in found]
        if count > FEW:
            middle, at = count // 2, int(places[count // 2])
            return [
                *self._together(number, data[:at], edges[: middle + 1]),
                *self._together(number, data[at:], edges[middle:]),
            ]
        rows = (data[start:end] for start, end in pairwise(places.tolist()))
        return [None if isinstance(row := self._parsed(number, each), str) else row for each in rows]

    def _parsed(self, number: int, data: bytes) -> Row | str:
        """A row, or what is wrong with it."""
        if head := self.heads[number]:
            lines = StringIO(data.decode("utf-8", "replace"), newline="")
            fields = next(csv.reader(lines, delimiter=_delimiter(self.files[number])), [])
            if len(fields) != len(head):
                return f"has {len(fields)} fields, and the header names {len(head)}"
            return dict(zip(head, fields, strict=True))
        try:
            found = json.loads(data.strip().strip(b",").strip() if self.files[number].suffix == ".json" else data)
        except (ValueError, RecursionError) as error:
            return f"no JSON ({error})"
        return found if isinstance(found, dict) else "is no object with named values"

    def name(self, row: int) -> str:
        """File and row."""
        number, place = self._place(row)
        file, lines = self.files[number], self.lines[number]
        return f"{file.name}, line {int(lines[place])}" if len(lines) else f"{file.name}, entry {place + 1}"

    def digests(self) -> dict[str, str]:
        """Name of each file -> digest."""
        return self._digests


def _lines(file: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where every line that is not empty begins (and the last one ends), and its number."""
    found, at = [np.zeros(1, dtype=np.int64)], 0
    with file.open("rb") as opened:
        while chunk := opened.read(scans.CHUNK):
            found.append(np.flatnonzero(np.frombuffer(chunk, dtype=np.uint8) == ord("\n")) + at + 1)
            at += len(chunk)
    edges = np.concatenate(found)
    if edges[-1] != at:
        edges = np.append(edges, at)
    numbers = np.flatnonzero(np.diff(edges) > 2) + 1  # "{}" and its end are three
    if len(numbers) < len(edges) - 1:
        # An empty line in between becomes the end of the one before, which JSON does not mind.
        edges = np.append(edges[numbers - 1], edges[-1])
    return edges.astype(np.int64), numbers.astype(np.int64)


def _listed(file: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where every entry of a JSON list begins; they are numbered by their place."""
    return entries(file), np.zeros(0, dtype=np.int64)


def _delimiter(file: Path) -> str:
    return "\t" if file.suffix == ".tsv" else ","


def _header(file: Path) -> list[str]:
    with file.open(encoding="utf-8-sig", newline="") as opened:
        return next(csv.reader(opened, delimiter=_delimiter(file)), [])


def _csv_rows(file: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where every row below the header begins (and the last one ends), and its line."""
    at, starts, lines = 0, list[int](), list[int]()

    def read() -> Iterator[str]:
        nonlocal at
        with file.open("rb") as opened:
            for line in opened:
                at += len(line)
                yield line.decode("utf-8", "replace")

    reader = csv.reader(read(), delimiter=_delimiter(file))
    try:
        next(reader, None)
        before, line = at, reader.line_num
        for fields in reader:
            if fields:
                starts.append(before)
                lines.append(line + 1)
            before, line = at, reader.line_num
    except csv.Error as error:
        raise InputError(f"{file}: a field that begins near line {reader.line_num} does not end ({error})") from error
    return np.array([*starts, at], dtype=np.int64), np.array(lines, dtype=np.int64)
