"""What people should hear of their pairs: told once a run, with how often it came, and written down."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from dynaip.prompts import PromptLimit, cut
from dynaip.training.logs import append_log
from dynaip.training.progress import Warn


class Remarks:
    """Collects notes of pairs and their prompts; ``tell`` says each kind once, through ``warn`` and in ``file``."""

    def __init__(self, warn: Warn, file: Path | None = None, limits: Sequence[PromptLimit] = ()) -> None:
        self.warn, self.file, self.limits = warn, file, limits
        self.prompts: dict[str, None] = {}
        self.lines: dict[str, list[str]] = {}
        self.told: set[str] = set()

    def add(self, notes: Iterable[tuple[str, str]]) -> None:
        """Collect (kind, line): lines of one kind become one, with their number."""
        for kind, line in notes:
            self.lines.setdefault(kind or line, []).append(line)

    def tell(self) -> None:
        """Say what was not said before."""
        for kind, lines in self.lines.items():
            self._say(kind, lines[0] + (f" ({len(lines) - 1} more like this)" if len(lines) > 1 else ""))
        if self.limits and (line := cut(self.limits, self.prompts)):
            self._say("prompts", line)

    def _say(self, kind: str, line: str) -> None:
        if kind in self.told:
            return
        self.told.add(kind)
        self.warn(line)
        if self.file:
            append_log(self.file, {"note": line})
