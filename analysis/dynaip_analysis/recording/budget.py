"""What a recording will need, told before anything is computed: steps are merged until it fits, or it is refused."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dynaip.errors import InputError

CHUNK = 32 * 2**20
"""Bytes of logits that are held at once."""
UNKNOWN_STEPS = 64
"""Groups of steps that are kept at most where the number of steps is not known beforehand, as in training."""


@dataclass(frozen=True)
class Arrays:
    """Arrays that one group of steps holds: name -> its axes with their labels, block first."""

    arrays: Mapping[str, Mapping[str, Sequence[Any]]]

    def shape(self, name: str) -> tuple[int, ...]:
        """Sizes of an array's axes."""
        return tuple(len(labels) for labels in self.arrays[name].values())

    @property
    def bytes(self) -> int:
        """Bytes of all arrays in float32."""
        return sum(4 * math.prod(self.shape(name)) for name in self.arrays)


@dataclass(frozen=True)
class RecordingPlan:
    """How a recording keeps within its budget (ours)."""

    what: str
    budget: int
    per_step: int
    """Bytes of one step, or of one group of merged steps."""
    chunk: int
    """Bytes of logits that are held at once while a step is reduced."""
    work: int
    """Bytes to work in: some copies of a chunk, and what one block's maps take until they are added."""
    steps: int | None
    """Steps that will come; None where nobody knows."""
    groups: int
    """Groups of steps that are kept."""
    stride: int
    """Steps that are merged into one group by their mean, at the start."""

    @property
    def bytes(self) -> int:
        """Bytes that the recording takes at most."""
        return self.groups * self.per_step + self.work

    def words(self) -> str:
        """One line for people."""
        steps = "an unknown number of steps" if self.steps is None else f"{self.steps} steps"
        merged = f", each the mean of {self.stride} neighbouring steps" if self.stride > 1 else ""
        return (
            f"{self.what}: {bytes_told(self.per_step)} a step over {steps}; keeps {self.groups} maps{merged}: "
            f"{bytes_told(self.bytes)} of {bytes_told(self.budget)}"
        )


def plan_recording(
    what: str, layout: Arrays, steps: int | None, budget: int, scratch: int = 0, copies: int = 4
) -> RecordingPlan:  # fmt: skip
    """Fit a layout, ``copies`` of a chunk and ``scratch`` bytes into ``budget``.

    ``InputError`` with the sizes if a single step does not fit.
    """
    chunk = max(4096, min(CHUNK, budget // 32))
    per_step, work = layout.bytes, copies * chunk + scratch
    room = (budget - work) // max(per_step, 1)
    if room < 1:
        raise InputError(
            f"{what}: one step needs {bytes_told(per_step)} (with {bytes_told(work)} to work in) and the budget is "
            f"{bytes_told(budget)}; "
            "give more, or record fewer blocks, branches or samples, or the mean over heads"
        )
    if steps is None:
        return RecordingPlan(what, budget, per_step, chunk, work, None, min(room, UNKNOWN_STEPS), 1)
    stride = -(-steps // min(room, steps))
    return RecordingPlan(what, budget, per_step, chunk, work, steps, -(-steps // stride), stride)


def parse_bytes(size: float | str) -> int:
    """Read a size above 0: bytes, or text such as ``"512MB"``, ``"2 GB"`` (powers of 1000) or ``"2GiB"`` (powers of 1024)."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?(?:e\d+)?)\s*([kmgt]?)(i?)b?\s*", str(size).lower())
    found_bytes = float(found[1]) * (1024 if found[3] else 1000) ** " kmgt".index(found[2] or " ") if found else 0.0
    if not 1 <= found_bytes < 2**63:
        raise InputError(f"budget {size!r} is no size in bytes; write for example 512MB or 2GB")
    return int(found_bytes)


def bytes_told(size: int) -> str:
    """Bytes in words."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size} bytes"
