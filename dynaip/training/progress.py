"""What a training tells while it runs, and how it says that it was asked to stop."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dynaip.plain import one_plain_line


@dataclass(frozen=True)
class StepReport:
    """What a step did, for progress bars and logs."""

    step: int
    """Steps done so far, from 1."""
    steps: int
    loss: float
    """NaN if the step was skipped."""
    learning_rate: float
    gradient_norm: float
    """Before clipping; NaN if it was not finite."""
    skipped: int
    """Steps skipped so far because loss or gradient was not finite."""
    seconds: float
    """Time of the training so far."""
    more: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What was measured beside it, by its name in the log: ``validation_loss`` of held-out pairs, ``router``, ``terms``, …"""

    @property
    def validation_loss(self) -> float | None:
        """Of held-out pairs, if it was measured after this step."""
        return self.more.get("validation_loss")


@dataclass(frozen=True)
class Preparation:
    """How far the encoding of pairs is."""

    done: int
    total: int


OnProgress = Callable[[StepReport | Preparation], None]
Warn = Callable[[str], None]


def to_stderr(line: str) -> None:
    """Say a line that is no error."""
    print(f"dynaip: {one_plain_line(line)}", file=sys.stderr)
