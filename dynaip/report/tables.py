"""The small tables beside the page."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from dynaip.atomic import write_text
from dynaip.plain import cell
from dynaip.reading import Row


def write_csv(path: Path, rows: list[Row]) -> None:
    """Write rows as csv; the columns are those of the first row."""
    lines = io.StringIO(newline="")
    writer = csv.DictWriter(lines, fieldnames=list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: cell(value) for name, value in row.items()} for row in rows)
    write_text(path, lines.getvalue())
