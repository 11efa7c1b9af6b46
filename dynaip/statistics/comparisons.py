"""Several differences at once, and differences that are too small to matter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from dynaip.errors import InputError
from dynaip.statistics.hierarchical import Gap
from dynaip.statistics.intervals import FEWEST, LEVEL

Verdict = Literal["higher", "lower", "equivalent", "open"]


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for their number, so that one false find in the whole family stays as rare as asked for.

    Holm 1979, "A simple sequentially rejective multiple test procedure". NaN stays NaN and counts for nothing.
    """
    values = np.asarray(p_values, dtype=np.float64)
    known = np.flatnonzero(np.isfinite(values))
    order = known[np.argsort(values[known], kind="stable")]
    steps = values[order] * np.arange(len(order), 0, -1)
    adjusted = np.full(len(values), np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted.tolist()


def verdict(gap: Gap, adjusted: float, *, margin: float | None = None, level: float = LEVEL) -> Verdict:
    """What a difference says, given its p-value adjusted for the family.

    ``equivalent`` if it lies within ±``margin`` by two one-sided tests (Schuirmann 1987: the interval at 1 - 2 alpha does), which
    a difference that is merely not found is not; ``open`` otherwise. Raises ``InputError`` for a margin that is no width.
    """
    if margin is not None and not margin > 0:
        raise InputError(f"a margin of equivalence is a number above 0, not {margin}")
    if gap.subjects < FEWEST or not np.isfinite(adjusted):
        return "open"
    if margin is not None:
        low, high = gap.ends(2 * level - 1)
        if -margin < low and high < margin:
            return "equivalent"
    if adjusted < 1 - level:
        return "higher" if gap.value > 0 else "lower"
    return "open"
