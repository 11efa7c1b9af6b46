"""Looking through text tables of millions of rows: where entries of a JSON list lie, and many rows read at once."""

from __future__ import annotations

import csv
import gc
import json
from codecs import BOM_UTF8
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynaip.errors import InputError

CHUNK = 2**22
"""Bytes of a file that are looked through at once."""
FEW = 256
"""Rows that are read one by one where they cannot be read together."""
QUOTE, BACKSLASH, COMMA = 34, 92, 44
KINDS = np.zeros(256, dtype=np.int8)
"""1 opens an object or a list, -1 closes one, 2 is a comma."""
KINDS[list(b"[{")], KINDS[list(b"]}")], KINDS[COMMA] = 1, -1, 2


def entries(file: Path) -> NDArray[np.int64]:
    """Where every entry of a JSON list begins (behind the comma before it), and where the last one ends.

    Entries are not read. Raises ``InputError`` for what is no list, or one that does not end.
    """
    with file.open("rb") as opened:
        mark = 3 if opened.read(3) == BOM_UTF8 else 0
        opened.seek(mark)
        head = b""
        while not head.strip() and (byte := opened.read(1)):
            head += byte
        if head.strip() != b"[":
            raise InputError(
                f"{file}: a JSON table is a list of objects; write [{{…}}, {{…}}], or one object a line as .jsonl"
            )
        first = mark + len(head)
        commas, end = _commas(_pieces(opened), first)
        if end is None:
            raise InputError(f"{file}: the list is cut off or broken after entry {len(commas)}")
        edges = np.concatenate([[first], commas + 1, [end]]).astype(np.int64)
        opened.seek(int(edges[-2]))
        blank = not opened.read(int(edges[-1] - edges[-2])).strip()
    return np.delete(edges, -2) if blank else edges


def _pieces(opened: Any) -> Iterator[bytes]:
    """Pieces of a file that never end between a backslash and what it stands before."""
    while piece := opened.read(CHUNK):
        while piece.endswith(b"\\") and (more := opened.read(1)):
            piece += more
        yield piece


def _commas(pieces: Iterator[bytes], at: int) -> tuple[NDArray[np.int64], int | None]:
    """Places of the commas between entries, and of the bracket that closes the list (None: it does not end)."""
    depth, within, found = 1, 0, list[NDArray[np.int64]]()
    for piece in pieces:
        data = np.frombuffer(piece, dtype=np.uint8)
        quotes = _quotes(data)
        kinds = KINDS[data]
        marks = np.flatnonzero(kinds)
        marks = marks[(np.searchsorted(quotes, marks) + within) % 2 == 0]  # outside of texts
        kinds = kinds[marks]
        depths = depth + np.cumsum(np.where(kinds == 2, 0, kinds), dtype=np.int64)
        closed = np.flatnonzero(depths == 0)[:1]
        here = slice(None, int(closed[0])) if len(closed) else slice(None)
        found.append(marks[here][(kinds[here] == 2) & (depths[here] == 1)] + at)
        if len(closed):
            return np.concatenate(found), at + int(marks[closed[0]])
        depth, within = int(depths[-1]) if len(depths) else depth, (within + len(quotes)) % 2
        at += len(piece)
    return np.concatenate([*found, np.zeros(0, dtype=np.int64)]), None


def _quotes(data: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Places of the quotes that begin and end texts: before them stand an even number of backslashes."""
    quotes = np.flatnonzero(data == QUOTE)
    doubtful = (quotes > 0) & (data[quotes - 1] == BACKSLASH)
    if not doubtful.any():
        return quotes
    others, asked = np.flatnonzero(data != BACKSLASH), quotes[doubtful]
    place = np.searchsorted(others, asked) - 1
    before = np.where(place >= 0, others[place], -1)
    doubtful[doubtful] = (asked - 1 - before) % 2 == 1
    return quotes[~doubtful]


def json_rows(data: bytes, edges: NDArray[np.int64]) -> list[Any] | None:
    """The values of the rows that begin at ``edges`` (with one byte between them), read as one list.

    None where one of them is no JSON: then they have to be read one by one.
    """
    text = np.frombuffer(b" " + data + b" ", dtype=np.uint8).copy()
    last = int(edges[-1])
    if len(edges) > 2 and text[last] == COMMA == text[int(edges[1])]:  # of a list that goes on: no entry follows here
        text[last] = ord(" ")
    text[0], text[1 + last :] = ord("["), ord("]")
    text[edges[1:-1]] = COMMA
    with suppress(ValueError, RecursionError), _no_collection():
        found = json.loads(text.tobytes())
        return found if len(found) == len(edges) - 1 else None
    return None


@contextmanager
def _no_collection() -> Generator[None]:
    """No search for circles meanwhile: there are none in JSON, and looking for them takes as long as reading it."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def csv_rows(file: Path, at: int, head: Sequence[str], delimiter: str, columns: Sequence[str]) -> Iterator[Any]:
    """The rows below the header, which ends at a byte: these columns (all, if none is named); None for a row that is none."""
    places = {name: place for place, name in enumerate(head)}
    chosen = [(name, places[name]) for name in columns if name in places] if columns else [*places.items()]
    with file.open("rb") as opened:
        opened.seek(at)
        for fields in csv.reader((line.decode("utf-8", "replace") for line in opened), delimiter=delimiter):
            if fields:
                yield {name: fields[place] for name, place in chosen} if len(fields) == len(head) else None
