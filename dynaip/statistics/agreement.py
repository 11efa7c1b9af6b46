"""Agreement of raters and judges: Krippendorff's alpha, rank correlations, confusion; intervals over what was rated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, spearmanr

from dynaip.statistics.intervals import Floats, interval

Level = Literal["nominal", "ordinal", "interval", "ratio"]
DRAWS = 400


@dataclass(frozen=True)
class Figure:
    """A figure of agreement with its 95 % interval; NaN where it is not defined."""

    value: float
    low: float
    high: float
    units: int


def alpha(ratings: Floats, level: Level = "ordinal") -> float:
    """Krippendorff's alpha of raters x units, NaN where a rater gave none; NaN if nothing varies or nobody meets.

    Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability"; the computation is that of the package ``krippendorff``.
    """
    import krippendorff

    met = np.isfinite(ratings).sum(axis=0) >= 2
    kept = ratings[:, met]
    if not kept.size or len(np.unique(kept[np.isfinite(kept)])) < 2:
        return float("nan")
    return float(krippendorff.alpha(reliability_data=kept, level_of_measurement=level))


def spearman(one: Floats, other: Floats) -> float:
    """Spearman's rank correlation; NaN if one of them does not vary."""
    return _correlation(spearmanr, one, other)


def kendall(one: Floats, other: Floats) -> float:
    """Kendall's tau-b, which takes ties into account; NaN if one of them does not vary."""
    return _correlation(kendalltau, one, other)


def _correlation(function: Callable[..., tuple[float, float]], one: Floats, other: Floats) -> float:
    known = np.isfinite(one) & np.isfinite(other)
    one, other = one[known], other[known]
    if len(one) < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    return float(function(one, other)[0])


def over_units(
    figure: Callable[[NDArray[np.int64]], float], units: int, *, draws: int = DRAWS, seed: int = 0
) -> Figure:
    """A figure of units (given by index) with an interval: units are drawn again, whoever rated them."""
    rng = np.random.default_rng(seed)
    value = figure(np.arange(units))
    if units < 2 or not np.isfinite(value):
        return Figure(value, float("nan"), float("nan"), units)
    found = np.array([figure(rng.integers(0, units, units)) for _ in range(draws)])
    return Figure(value, *interval(found[np.isfinite(found)], units), units)


def confusion(one: Floats, other: Floats, levels: Floats) -> NDArray[np.int64]:
    """How often ``one`` (rows) and ``other`` (columns) gave each level; values count as the level that is nearest."""
    known = np.isfinite(one) & np.isfinite(other)
    rows, columns = (np.abs(values[known, None] - levels).argmin(axis=1) for values in (one, other))
    counts = np.zeros((len(levels), len(levels)), dtype=np.int64)
    np.add.at(counts, (rows, columns), 1)
    return counts
