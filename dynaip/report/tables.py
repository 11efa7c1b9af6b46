"""The small tables beside the page."""

from __future__ import annotations

import csv
from pathlib import Path

from dynaip.reading import Row as Row
from dynaip.reading import last_line as last_line
from dynaip.reading import read_mapping as read_mapping
from dynaip.reading import read_rows as read_rows


def write_csv(path: Path, rows: list[Row]) -> None:
    """Write rows as csv; the columns are those of the first row."""
    with path.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.DictWriter(lines, fieldnames=list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows(rows)
