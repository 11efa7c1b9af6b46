"""What stages and tests tell while they run: a JSON object a line, written at once, so that a cut-off loses nothing."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .timing import Figure

VARIABLE = "DYNAIP_GPU_ROWS"
"""Names the file to which tests tell."""


class Teller:
    """Adds rows to a file that other processes add to as well."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def _add(self, **row: Any) -> None:
        with self.path.open("ab", buffering=0) as file:  # one write a row: rows of several processes do not mix
            file.write((json.dumps(row) + "\n").encode())

    def plan(self, titles: list[str]) -> None:
        """These will come."""
        self._add(kind="plan", titles=titles)

    def begun(self, title: str) -> None:
        """It runs."""
        self._add(kind="begun", title=title)

    def figure(self, figure: Figure) -> None:
        """One line of the table."""
        self._add(kind="figure", **asdict(figure))

    def done(self, title: str, seconds: float, *, test: bool = False) -> None:
        """It has ended well."""
        self._add(kind="done", title=title, seconds=round(seconds, 1), test=test)

    def failed(self, title: str, why: str) -> None:
        """It has ended badly."""
        self._add(kind="failed", title=title, why=why)

    def left_out(self, title: str, why: str) -> None:
        """It was not begun."""
        self._add(kind="left out", title=title, why=why)

    def note(self, text: str) -> None:
        """Something to be read beside the figures."""
        self._add(kind="note", text=text)

    def machine(self, **told: str) -> None:
        """What the figures are taken on."""
        self._add(kind="machine", told=told)


class Reader:
    """Gives the rows of a file that were added since it was last asked."""

    def __init__(self, path: Path) -> None:
        self.path, self.at = path, 0

    def new(self) -> list[dict[str, Any]]:
        """Whole lines alone: what is being written is read the next time."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(self.at)
            whole, end, _ = file.read().rpartition(b"\n")
        self.at += len(whole) + len(end)
        return [json.loads(line) for line in whole.splitlines() if line.strip()]


def from_environment() -> Teller | None:
    """The teller that a test run was given."""
    path = os.environ.get(VARIABLE)
    return Teller(Path(path)) if path else None
