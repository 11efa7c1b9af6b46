"""Logs of a run: one JSON line an entry, cut back to the step that a resumed run begins at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dynaip import atomic


def cut_log(path: Path, step: int) -> None:
    """Drop a log's lines after ``step``, and a line that was broken off."""
    if not path.exists():
        return
    kept: list[str] = []
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except (ValueError, KeyError, TypeError):
            break
    atomic.write_text(path, "".join(line + "\n" for line in kept))


def append_log(path: Path, entry: dict[str, Any]) -> None:
    """Add one JSON line."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")
