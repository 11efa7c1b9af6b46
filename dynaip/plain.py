"""Text that others wrote, made safe where it goes: a terminal, a folder's name, a cell of a spreadsheet."""

from __future__ import annotations

import re
import unicodedata
from typing import TypeVar

from dynaip.errors import InputError

Value = TypeVar("Value")

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of something to compute."""
_TURNS = frozenset("\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Signs that turn the direction of writing, so that a line reads as another one."""
_LONGEST_NAME = 120


def plain(text: str, keep: str = "\n\t") -> str:
    r"""Write control characters as escapes (``\x1b``), so that no text moves the cursor, colours or rewrites a terminal."""
    return "".join(sign if sign in keep or not _controls(sign) else _escaped(sign) for sign in text)


def one_plain_line(text: str) -> str:
    """Like ``plain``, in one line."""
    return plain(" ".join(text.split()), keep="")


def _controls(sign: str) -> bool:
    return unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") or sign in _TURNS


def _escaped(sign: str) -> str:
    return sign.encode("unicode_escape").decode("ascii")


def name_problem(name: str) -> str:
    """Say why a name of an arm, a run or a suite could leave its folder or is more than a word; empty if it is fine."""
    if NAME.fullmatch(name) and ".." not in name and len(name) <= _LONGEST_NAME:
        return ""
    allowed = f"letters, digits, '_', '.' and '-' ({_LONGEST_NAME} at most)"
    return f"{name!r} is no name: write {allowed}, without '..' and with neither '.' nor '-' in front"


def check_name(name: str, what: str) -> str:
    """Give such a name back; ``InputError`` that begins with ``what`` if there is a problem."""
    if problem := name_problem(name):
        raise InputError(f"{what} {problem}")
    return name


def name_from(text: str, otherwise: str) -> str:
    """Make such a name of any text; ``otherwise`` if nothing of it is left."""
    word = re.sub(r"\.{2,}", ".", re.sub(r"[^A-Za-z0-9_.-]+", "_", text)).strip("_.-")
    return word[:_LONGEST_NAME] or otherwise


def cell(value: Value) -> Value | str:
    """A value as a cell of a csv file: text that a spreadsheet would compute is quoted; numbers stay numbers."""
    if not isinstance(value, str) or not value.startswith(FORMULA):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value
