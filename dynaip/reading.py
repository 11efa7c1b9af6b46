"""Reading what runs leave: mappings, small tables, logs. Each way of reading is there twice: damage is said, or left out."""

from __future__ import annotations

import csv
import importlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from PIL import Image
from safetensors import safe_open

from dynaip.config.yaml_text import read as read_yaml
from dynaip.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]

JSON = (".json", ".txt")
"""Endings of files whose text is JSON: text that somebody copied from a page is often saved as the second."""
DEEPEST = 40
"""Levels of nesting beyond which a file is no record of a run."""


def mapping(path: Path) -> dict[str, Any]:
    """A JSON or YAML file that holds a mapping; empty if there is none, ``InputError`` in one line if it is damaged."""
    if not path.exists():
        return {}
    try:
        found: Any = (
            json.loads(path.read_text(encoding="utf-8-sig")) if path.suffix.lower() in JSON else read_yaml(path)
        )
    except RecursionError as error:
        raise InputError(f"{path} is damaged: nested too deeply") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is damaged: {_why(error)}") from error
    if not isinstance(found, dict):
        raise InputError(f"{path} is damaged: it holds no keys and values")
    if _too_deep(found):
        raise InputError(f"{path} is damaged: nested too deeply")
    return cast("dict[str, Any]", found)


def _too_deep(value: Any) -> bool:
    level: list[Any] = [value]
    for _ in range(DEEPEST):
        inner = [part for each in level for part in (each.values() if isinstance(each, dict) else each)]
        level = [part for part in inner if isinstance(part, (dict, list))]
        if not level:
            return False
    return True


def table(path: Path) -> list[Row]:
    """The rows of a parquet or csv file; none if there is no file, ``InputError`` in one line if it is damaged.

    Numbers of a csv file come as numbers.
    """
    if not path.exists():
        return []
    try:
        if path.suffix.lower() == ".csv":
            return [{key: _value(text) for key, text in row.items()} for row in _read_csv(path)]
        return _parquet(path).to_pylist()
    except Exception as error:  # readers of tables raise whatever the bytes make of them
        raise InputError(f"{path} is damaged: {_why(error)}") from error


def rows_of(path: Path) -> list[Row]:
    """The rows of a parquet, csv, json (a list) or jsonl table that a user names; values stay as they are written in it.

    Raises ``InputError`` in one line if there is no such file, or if it is damaged.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such table")
    try:
        if path.suffix.lower() == ".parquet":
            found: Any = _parquet(path).to_pylist()
        elif path.suffix.lower() == ".csv":
            found = _read_csv(path)
        elif path.suffix.lower() == ".jsonl":
            lines_read = path.read_text(encoding="utf-8-sig").splitlines()
            found = [json.loads(line) for line in lines_read if line.strip()]
        else:
            found = json.loads(path.read_text(encoding="utf-8-sig"))
    except Exception as error:  # readers of tables raise whatever the bytes make of them
        raise InputError(f"{path} is damaged: {_why(error)}") from error
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise InputError(f"{path} is damaged: it must hold a list of rows, each with names and values")
    return cast("list[Row]", found)


def frame(path: Path) -> pd.DataFrame:
    """A parquet file as pandas reads it; ``InputError`` in one line if it is missing or damaged."""
    try:
        return _parquet(path).to_pandas()
    except Exception as error:
        raise InputError(f"{path} is damaged: {_why(error)}") from error


def _parquet(path: Path) -> Any:
    parquet: Any = importlib.import_module("pyarrow.parquet")
    return parquet.read_table(path, page_checksum_verification=True)


def _read_csv(path: Path) -> list[Row]:
    """Rows of text; a mark of byte order, as spreadsheets write it, is no part of the first name."""
    with path.open(newline="", encoding="utf-8-sig") as lines:
        rows: list[dict[Any, Any]] = list(csv.DictReader(lines))
    for number, row in enumerate(rows, start=1):
        if None in row:
            raise ValueError(f"row {number} has more values than there are columns: put text with commas in quotes")
    return rows


def _value(text: str) -> str | int | float:
    for kind in (int, float):
        try:
            return kind(text)
        except (TypeError, ValueError):
            continue
    return text


def _why(error: Exception) -> str:
    text = " ".join((getattr(error, "strerror", None) or str(error) or type(error).__name__).split())
    return text[:200]


def check_picture(path: Path) -> None:
    """Raise ``InputError`` in one line if a picture is missing or damaged; a PNG is read against its checksums."""
    try:
        with Image.open(path) as image:
            image.verify()
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing") from error
    except Exception as error:  # Pillow raises whatever the bytes make of it
        raise InputError(f"{path} is damaged: {_why(error)}") from error


def check_tensors(path: Path) -> None:
    """Raise ``InputError`` in one line if a safetensors file is missing, cut off, or no such file; no weight is read."""
    try:
        with safe_open(path, framework="numpy"):
            pass
    except Exception as error:  # safetensors gives whatever is wrong as an error of its own
        raise InputError(f"{path} is damaged: {_why(error)}") from error


def read_mapping(path: Path) -> dict[str, Any]:
    """Like ``mapping``, and empty if the file is damaged."""
    try:
        return mapping(path)
    except InputError:
        return {}


def read_rows(path: Path) -> list[Row]:
    """Like ``table``, and no rows if the file is damaged."""
    try:
        return table(path)
    except InputError:
        return []


def last_line(path: Path, limit: int = 400) -> str:
    """The last line with content of a text file, shortened; empty if there is none."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1].strip()[:limit] if lines else ""


def entries(path: Path) -> list[dict[str, Any]]:
    """All whole entries of a log with one JSON mapping a line; none if there is no log."""
    return list(_entries(_log_lines(path)))


def last_entry(path: Path) -> dict[str, Any]:
    """The last whole entry of a log with one JSON mapping a line; empty if there is none."""
    return next(_entries(reversed(_log_lines(path))), {})


def _log_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _entries(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict):
            yield cast("dict[str, Any]", found)
