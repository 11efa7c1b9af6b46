"""Reading the small tables of a run: parquet, csv, JSON and YAML, as plain rows."""

from __future__ import annotations

import csv
import importlib
import json
from pathlib import Path
from typing import Any

import yaml

Row = dict[str, Any]


def read_rows(path: Path) -> list[Row]:
    """The rows of a parquet or csv file; none if the file is missing or cannot be read.

    Numbers of a csv file come as numbers.
    """
    try:
        return _read_csv(path) if path.suffix == ".csv" else _read_parquet(path)
    except (OSError, ValueError):
        return []


def _read_parquet(path: Path) -> list[Row]:
    parquet: Any = importlib.import_module("pyarrow.parquet")
    return parquet.read_table(path).to_pylist()


def _read_csv(path: Path) -> list[Row]:
    with path.open(newline="", encoding="utf-8") as lines:
        return [{key: _value(text) for key, text in row.items()} for row in csv.DictReader(lines)]


def _value(text: str) -> str | int | float:
    for kind in (int, float):
        try:
            return kind(text)
        except (TypeError, ValueError):
            continue
    return text


def write_csv(path: Path, rows: list[Row]) -> None:
    """Write rows as csv; the columns are those of the first row."""
    with path.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.DictWriter(lines, fieldnames=list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows(rows)


def read_mapping(path: Path) -> dict[str, Any]:
    """A JSON or YAML file that holds a mapping; an empty one if it is missing, broken or holds something else."""
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}  # pyright: ignore[reportUnknownVariableType]


def last_line(path: Path, limit: int = 400) -> str:
    """The last line with content of a text file, shortened; empty if there is none."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1].strip()[:limit] if lines else ""
