"""Nearest names, for errors that help."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(word: str, names: Iterable[str], *, count: int = 3) -> list[str]:
    """Give up to ``count`` of ``names`` that are spelt like ``word``, best first; empty if none is near."""
    from difflib import SequenceMatcher  # costs 10 ms, and only a mistake needs it

    likeness = {name: SequenceMatcher(None, word.lower(), name.lower()).ratio() for name in names}
    enough = max(0.55, max(likeness.values(), default=0.0) - 0.1)
    return sorted((name for name in likeness if likeness[name] >= enough), key=lambda name: -likeness[name])[:count]


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """Give `` Did you mean a or b?`` with a leading space, or nothing if no name is near."""
    near = nearest(word, names)
    return f" Did you mean {' or '.join(near)}?" if near else ""


def one_line(error: BaseException) -> str:
    """Give an exception as one plain line: its type, then its message without line breaks."""
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
