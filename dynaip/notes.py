"""Notes: what was asked for and did not happen as asked, told in one line, once a run, through Python's own warnings."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from dynaip.plain import one_plain_line


class Note(UserWarning):
    """Something asked for did not happen as asked: a prompt was cut, a picture was cropped or enlarged."""


_CAUGHT: ContextVar[list[tuple[str, str]] | None] = ContextVar("caught notes", default=None)
_GATHERED: ContextVar[dict[str, list[str]] | None] = ContextVar("gathered notes", default=None)


def tell(line: str, *, kind: str = "") -> None:
    """Warn with one plain line. Lines of one ``kind`` inside ``gathered()`` become a single one, with their number."""
    gathered, caught = _GATHERED.get(), _CAUGHT.get()
    if caught is not None:
        caught.append((kind, line))
    elif gathered is None or not kind:
        warnings.warn(one_plain_line(line), Note, stacklevel=2)
    else:
        gathered.setdefault(kind, []).append(line)


@contextmanager
def caught() -> Generator[list[tuple[str, str]]]:
    """Collect what is told inside as (kind, line), for somebody who passes it on."""
    lines: list[tuple[str, str]] = []
    token = _CAUGHT.set(lines)
    try:
        yield lines
    finally:
        _CAUGHT.reset(token)


@contextmanager
def gathered() -> Generator[None]:
    """Hold notes back until the end of a run of many cases, then tell each kind once and how often it came."""
    if _GATHERED.get() is not None:  # the outer one tells
        yield
        return
    lines: dict[str, list[str]] = {}
    token = _GATHERED.set(lines)
    try:
        yield
    finally:
        _GATHERED.reset(token)
        for same in lines.values():
            more = f" ({len(same) - 1} more like this)" if len(same) > 1 else ""
            warnings.warn(same[0] + more, Note, stacklevel=3)


def to_stderr() -> None:
    """Print notes as ``note: …`` on stderr, each once; for the command line, where other warnings are kept quiet."""
    warnings.filterwarnings("once", category=Note)
    before = warnings.showwarning

    def show(message: Any, category: type[Warning], filename: str, lineno: int, *rest: Any, **more: Any) -> None:
        if issubclass(category, Note):
            print(f"note: {one_plain_line(str(message))}", file=sys.stderr)
        else:
            before(message, category, filename, lineno, *rest, **more)

    warnings.showwarning = show
