"""Paths that people write: what is missing comes with the nearest name there is."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from dynaip.suggest import nearest

LISTED = 10_000
"""Names of one folder that are looked at for a likely one."""


def at_home(path: str | os.PathLike[str]) -> Path:
    """Write ``~`` and ``~name`` out; a name that this machine does not know stays as it is, and is then not there."""
    return Path(os.path.expanduser(path))


def missing(path: str | Path) -> str:
    """Say why a path is not there, with the nearest name there is: `` Did you mean a/b.png?``, or nothing.

    The answer begins with a space. Links to nothing, another Unicode form, upper and lower case, back slashes, quotes and
    blanks at the ends are recognised.
    """
    text = str(path)
    with_link = _dead_link(Path(text))
    if with_link:
        return with_link
    for likely in _variants(text):
        if likely != text and _there(Path(likely)):
            return f" Did you mean {likely}?"
    found = _nearest_name(Path(text))
    return f" Did you mean {found}?" if found else ""


def _dead_link(path: Path) -> str:
    try:
        return f" It is a link to {os.readlink(path)}, which is not there." if path.is_symlink() else ""
    except (OSError, ValueError):
        return ""


def _variants(text: str) -> Iterator[str]:
    """What the text may have meant."""
    bare = text.strip().strip("\"'")
    yield bare
    yield bare.replace("\\", "/")
    yield os.path.expanduser(bare)


def _there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long a name, a null byte
        return False


def _nearest_name(path: Path) -> str:
    """The name in the deepest folder there is that comes nearest to what should stand in it."""
    whole = at_home(str(path).strip().strip("\"'").replace("\\", "/"))
    for folder, part in zip(whole.parents, reversed(whole.parts), strict=False):
        if _there(folder):
            return _likely(folder, part)
    return ""


def _likely(folder: Path, name: str) -> str:
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in islice(entries, LISTED)]
    except OSError:
        return ""
    same = [each for each in names if _plain(each) == _plain(name)]
    found = (same or nearest(name, names, count=1) or _same_stem(name, names))[:1]
    if not found:
        return ""
    other_form = found[0] != name and unicodedata.normalize("NFC", found[0]) == unicodedata.normalize("NFC", name)
    return str(folder / found[0]) + (" (the same letters in another Unicode form)" if other_form else "")


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold().strip()


def _same_stem(name: str, names: list[str]) -> list[str]:
    return sorted(each for each in names if _plain(Path(each).stem) == _plain(Path(name).stem))
