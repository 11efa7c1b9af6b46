"""Intervals of figures that were drawn again: as wide as few units ask for."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

Floats = NDArray[np.float64]

LEVEL = 0.95
DRAWS = 4000
FEWEST = 6
"""Cases below which nothing is told apart: even if all agree in sign, chance does so in 2 of 2^n draws, more than 5 %."""


@lru_cache(maxsize=256)
def fair_level(cases: int, level: float = LEVEL) -> float:
    """The level that a percentile bootstrap over so many cases must be asked for to cover ``level``.

    Resampled means are narrower than the truth by sqrt((n - 1) / n), and their quantiles are the normal's instead of t's:
    with eight cases 95 % would cover under 90 %. Hesterberg 2015, "What Teachers Should Know About the Bootstrap", the
    expanded percentile interval.
    """
    if cases < 2:
        return level
    strength = stdtrit(cases - 1, (1 + level) / 2) * (cases / (cases - 1)) ** 0.5
    return float(1 - 2 * ndtr(-strength))


def interval(draws: Floats, cases: int, level: float = LEVEL) -> tuple[float, float]:
    """Low and high end of what ``draws`` from so many cases say with ``level``; NaN below two cases, which say nothing."""
    if cases < 2:
        return float("nan"), float("nan")
    tail = 50 * (1 - fair_level(cases, level))
    low, high = np.nanpercentile(draws, [tail, 100 - tail])
    return float(low), float(high)
