"""The table: what was measured, what failed, and what was not measured and why; kept in ``OUT/gpu.json`` as it grows."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dynaip.atomic import write_json

from .timing import Figure

WIDE = 72


@dataclass
class Table:
    """Rows of all stages."""

    path: Path
    machine: dict[str, str] = field(default_factory=dict[str, str])
    figures: list[Figure] = field(default_factory=list[Figure])
    passed: list[str] = field(default_factory=list[str])
    """Tests."""
    failed: dict[str, str] = field(default_factory=dict[str, str])
    """Title -> why."""
    left_out: dict[str, str] = field(default_factory=dict[str, str])
    """Title -> why; not measured."""
    notes: list[str] = field(default_factory=list[str])
    stages: dict[str, float] = field(default_factory=dict[str, float])
    """Stage -> seconds."""
    running: set[str] = field(default_factory=set[str])
    waiting: list[str] = field(default_factory=list[str])
    """Titles that a stage announced and has not ended."""
    heard: bool = False
    """Whether the stage at hand announced anything."""

    def take(self, row: dict[str, Any]) -> str:
        """Add one row of a stage; what to print of it."""
        kind, title = row.pop("kind"), row.get("title", "")
        if kind == "plan":
            self.waiting += [each for each in row["titles"] if each not in self.waiting]
            self.heard = True
            return ""
        if kind == "begun":
            self.running.add(title)
            return ""
        if title in self.waiting:
            self.waiting.remove(title)
        self.running.discard(title)
        return self._ended(kind, title, row)

    def _ended(self, kind: str, title: str, row: dict[str, Any]) -> str:
        if kind == "figure":
            self.figures.append(Figure(**row))
            return line(self.figures[-1])
        if kind == "machine":
            self.machine.update(row["told"])
            return ""
        if kind == "note":
            self.notes.append(row["text"])
            return row["text"]
        if kind == "done":
            if row["test"]:
                self.passed.append(title)
            return f"   {title}: {row['seconds']} s"
        held = self.failed if kind == "failed" else self.left_out
        held[title] = row["why"]
        return f"   {title}: {kind}: {row['why']}"

    def close(self, stage: str, seconds: float, why: str) -> None:
        """A stage has ended: what it did not come to was not measured."""
        self.stages[stage] = round(seconds, 1)
        if not self.heard:
            self.left_out[stage] = f"not measured ({why}, before it announced anything)"
        for title in self.waiting:
            begun = ", begun" if title in self.running else ""
            self.left_out[title] = f"not measured ({why}{begun})"
        self.waiting, self.running, self.heard = [], set(), False

    def write(self) -> None:
        """Everything so far."""
        rows = [asdict(figure) | {"verdict": figure.verdict} for figure in self.figures]
        write_json(
            self.path,
            {
                "machine": self.machine, "figures": rows, "passed": self.passed, "failed": self.failed,
                "left_out": self.left_out | dict.fromkeys(self.waiting, "not yet"), "notes": self.notes,
                "seconds": self.stages,
            },
        )  # fmt: skip

    def lines(self) -> list[str]:
        """The table for people."""
        told = [" | ".join(self.machine.values()), f"{'what':<{WIDE}} {'median':>9}      {'from to':<20} {'budget':>6}"]
        told += [line(figure) for figure in self.figures]
        if self.passed or self.failed:
            told.append(f"tests that passed: {len(self.passed)}")
        told += [f"{title}: {why}" for title, why in self.left_out.items()]
        told += [f"{title}: FAILED: {why}" for title, why in self.failed.items()]
        told += self.notes
        told.append("seconds: " + ", ".join(f"{stage} {seconds:.0f}" for stage, seconds in self.stages.items()))
        return told


def line(figure: Figure) -> str:
    """One line of the table."""
    budget = "" if figure.budget is None else f"{figure.budget:g}"
    spread = f"{figure.low:.4g} to {figure.high:.4g}" if figure.rounds > 1 else ""
    return f"{figure.what:<{WIDE}} {figure.value:>9.4g} {figure.unit:<4} {spread:<20} {budget:>6} {figure.verdict}"
