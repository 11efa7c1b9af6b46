"""How much has to be measured: the power of paired differences, and of preferences of raters."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import ndtr, ndtri
from scipy.stats import nct, t

from dynaip.errors import InputError
from dynaip.statistics.intervals import LEVEL

MOST = 1_000_000


def power(difference: float, spread: float, units: int, level: float = LEVEL) -> float:
    """Chance that a paired t-test over so many units finds a true ``difference``; ``spread`` is that of a unit's differences.

    Cohen 1988, "Statistical Power Analysis", chapter 2, with the noncentral t instead of its table.
    """
    if units < 2:
        return float("nan")
    if spread == 0:
        return float(difference != 0)
    limit, centre = t.ppf((1 + level) / 2, units - 1), abs(difference) / spread * math.sqrt(units)
    found = nct.sf(limit, units - 1, centre)
    return float(found + nct.cdf(-limit, units - 1, centre))


def units_needed(difference: float, spread: float, wanted: float = 0.8, level: float = LEVEL) -> int:
    """Fewest units (cases, subjects) that find ``difference`` with the power ``wanted``; ``InputError`` for none at all."""
    if not difference:
        raise InputError("no number of cases finds a difference of 0: name the smallest one that would matter")
    low, high = 1, 2
    while high < MOST and power(difference, spread, high, level) < wanted:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(difference, spread, middle, level) >= wanted else (middle, high)
    return high


def detectable(spread: float, units: int, wanted: float = 0.8, level: float = LEVEL) -> float:
    """The smallest true difference that so many units find with the power ``wanted``."""
    if units < 2:
        return float("nan")
    low, high = 0.0, spread
    while power(high, spread, units, level) < wanted and spread:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if power(middle, spread, units, level) >= wanted else (middle, high)
    return high


def raters_needed(
    share: float, pairs: int, alike: float = 0.05, wanted: float = 0.8, level: float = LEVEL, most: int = MOST
) -> int:
    """Fewest raters that tell a preference of ``share`` (0.55 is 55 to 45) from none, each judging ``pairs`` pairs of two arms.

    ``alike`` is how much answers of one rater resemble each other beyond those of two (their intraclass correlation): it makes
    ``pairs`` answers worth ``pairs / (1 + (pairs - 1) alike)`` (Kish 1965, "Survey Sampling", the design effect).
    Raises ``InputError`` for a share that is no preference.
    """
    if not 0 < share < 1 or share == 0.5:
        raise InputError(f"a preference is a share between 0 and 1 other than one half, not {share}")
    if pairs < 1:
        raise InputError("a rater judges one pair at least")
    answers = _answers(share, wanted, level)
    worth = pairs / (1 + (pairs - 1) * alike)
    return min(most, math.ceil(answers / worth))


def _answers(share: float, wanted: float, level: float) -> float:
    """Answers that a two-sided test of a share against one half needs (normal approximation)."""
    reach = float(ndtri((1 + level) / 2)) * 0.5 + float(ndtri(wanted)) * math.sqrt(share * (1 - share))
    return (reach / (share - 0.5)) ** 2


def preference_power(share: float, answers: float, level: float = LEVEL) -> float:
    """Chance that so many independent answers tell a preference of ``share`` from none."""
    limit = float(ndtri((1 + level) / 2)) * 0.5
    reach, spread = abs(share - 0.5) * math.sqrt(answers), math.sqrt(share * (1 - share))
    return float(ndtr((reach - limit) / spread) + ndtr((-reach - limit) / spread)) if spread else float(np.nan)
