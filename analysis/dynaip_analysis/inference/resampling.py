"""Figures with draws (a bootstrap over groups, or halvings of them), so that differences and means have intervals too (ours)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynaip.statistics.intervals import FEWEST, interval

Floats = NDArray[np.float64]

DRAWS = 1000
MANY = 1_000_000
"""Groups of a figure whose draws are as wide as they have to be."""


@dataclass(frozen=True)
class Sampled:
    """A figure and its value in every resampling; figures from the same groups and seed are paired."""

    value: float
    draws: Floats = field(repr=False)
    groups: int = MANY
    """Groups that were drawn again: the interval is as wide as so few of them ask for."""

    @cached_property
    def _ends(self) -> tuple[float, float]:
        return interval(self.draws, self.groups)

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval; NaN below two groups."""
        return self._ends[0]

    @property
    def high(self) -> float:
        """Upper end of the 95 % interval; NaN below two groups."""
        return self._ends[1]

    @property
    def decided(self) -> bool:
        """Whether the interval excludes zero, over as many groups as can tell anything apart."""
        return self.groups >= FEWEST and (self.low > 0 or self.high < 0)

    def __sub__(self, other: Sampled) -> Sampled:
        return Sampled(self.value - other.value, self.draws - other.draws, min(self.groups, other.groups))

    def row(self, name: str) -> dict[str, float]:
        """Columns of a tidy table: ``name``, ``name_low``, ``name_high``."""
        return {name: self.value, f"{name}_low": self.low, f"{name}_high": self.high}


def mean(figures: Sequence[Sampled]) -> Sampled:
    """Mean of paired figures."""
    value, draws = np.mean([each.value for each in figures]), np.mean([each.draws for each in figures], axis=0)
    return Sampled(float(value), draws, min(each.groups for each in figures))


def weighted_mean(values: Floats, weights: Floats, groups: NDArray[Any], *, seed: int = 0) -> Sampled:
    """Weighted mean of one value a case, with whole groups drawn again together."""
    members = np.unique(groups, return_inverse=True)[1]
    count = int(members.max()) + 1
    top = np.bincount(members, weights * values, minlength=count)
    bottom = np.bincount(members, weights, minlength=count)
    drawn = _drawn(count, seed)
    with np.errstate(invalid="ignore", divide="ignore"):
        draws = (drawn @ top) / (drawn @ bottom)
    return Sampled(float(top.sum() / bottom.sum()), draws, int((bottom > 0).sum()))


@lru_cache(maxsize=16)
def _drawn(count: int, seed: int) -> Floats:
    """How often each of ``count`` groups is drawn, one row a draw."""
    return np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=DRAWS).astype(np.float64)


def halved(value: float, gaps: Floats, *, seed: int = 0) -> Sampled:
    """A figure whose variance is a quarter of that between two halves of the groups; ``gaps`` hold one a halving, or NaN.

    A half has twice the variance of the whole, and the halves share no group: the variance of their difference is four times
    that of the whole. The draws give each halving a weight, the same for figures of the same halvings: a normal one, over a
    shared root of chi-square, since few halvings know the variance no better than Student's t.
    """
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(DRAWS, len(gaps))) / np.sqrt(rng.chisquare(len(gaps), size=(DRAWS, 1)) / len(gaps))
    known = np.isfinite(gaps)
    return Sampled(value, value + weights @ np.where(known, gaps, 0) / (2 * np.sqrt(known.sum())))
