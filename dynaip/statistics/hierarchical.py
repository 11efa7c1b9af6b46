"""A paired bootstrap over training seeds, subjects and their cases: what chance draws at each of them is in the interval.

Seeds and subjects are crossed (every seed sees every case), so both are drawn again, independently (the pigeonhole bootstrap,
Owen 2007, "The pigeonhole bootstrap", Annals of Applied Statistics 1). Cases lie within subjects and stay with theirs: the
spread between subjects holds that of their cases already, and drawing both would count it twice (Davison and Hinkley 1997,
"Bootstrap Methods and their Application", 3.8). Without subjects, cases are drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np
from scipy.special import ndtr, stdtr, stdtrit

from dynaip.statistics.intervals import DRAWS, FEWEST, LEVEL, Floats


@dataclass(frozen=True)
class Gap:
    """A paired difference: its interval at the level asked for, and the p-value of no difference (two-sided)."""

    value: float
    low: float
    high: float
    p: float
    error: float
    """Standard error, all that was drawn again together."""
    freedom: float
    """Degrees of freedom (Satterthwaite's, from the spread that seeds and subjects each bring)."""
    seeds: int
    subjects: int
    cases: int
    crossed: bool = False
    """Whether the chance of training is in the interval: two seeds at least that both arms have."""
    draws: Floats = field(default_factory=lambda: np.empty(0), repr=False)

    @property
    def decided(self) -> bool:
        """Whether the interval excludes zero, over as many subjects as can tell anything apart."""
        return self.subjects >= FEWEST and bool(self.low > 0 or self.high < 0)

    def ends(self, level: float) -> tuple[float, float]:
        """The interval at another level; NaN where there is none."""
        return _ends(self.value, self.draws, self.error, self.freedom, level)


@dataclass(frozen=True)
class Hierarchy:
    """How often each seed and each subject is drawn again; the same seed, the same draws.

    ``subjects`` names the subject of each case, in the cases' order; empty takes every case for a subject of its own.
    """

    seeds: int
    cases: int
    subjects: Sequence[str] = ()
    draws: int = DRAWS
    seed: int = 0

    def gap(self, one: Sequence[Floats], other: Sequence[Floats], level: float = LEVEL) -> Gap:
        """``one`` minus ``other``: each a metric, or several whose means are multiplied, as seeds x cases with NaN where missing.

        Only what both have counts: a case of a seed that one of them lacks is left out of both.
        """
        return self.contrast([(1.0, one), (-1.0, other)], level)

    def contrast(self, terms: Sequence[tuple[float, Sequence[Floats]]], level: float = LEVEL) -> Gap:
        """A weighted sum of figures, each as in ``gap``, such as a main effect or an interaction; only what all have counts."""
        both = np.logical_and.reduce([np.isfinite(part) for _, parts in terms for part in parts])
        if not both.any():
            nothing = float("nan")
            return Gap(nothing, nothing, nothing, nothing, nothing, nothing, 0, 0, 0)
        drawn = [self._sums(terms, both, *weights) for weights in self._weights(both)]
        together, by_seed, by_subject = (each[1:] for each in drawn)
        seeds, groups = int(both.any(axis=1).sum()), len(set(self._members[both.any(axis=0)]))
        parts = [(part, count) for part, count in ((by_seed, seeds), (by_subject, groups)) if count > 1]
        known = [(float(np.nanvar(part)) * count / (count - 1), count - 1) for part, count in parts]
        squares = sum(variance for variance, _ in known)
        spread = sum(variance**2 / freedom for variance, freedom in known)
        freedom = squares**2 / spread if spread else float("nan")
        error = max(squares, float(np.nanvar(together))) ** 0.5 if known and groups > 1 else float("nan")
        value = float(drawn[0][0])
        low, high = _ends(value, together, error, freedom, level)
        return Gap(value, low, high, _p(value, error, freedom), error, freedom, seeds, groups, int(both.any(axis=0).sum()),
                   seeds > 1, together)  # fmt: skip

    @cached_property
    def _members(self) -> np.ndarray:
        names = self.subjects or [str(number) for number in range(self.cases)]
        return np.unique(np.asarray(names, dtype=str), return_inverse=True)[1]

    def _weights(self, both: np.ndarray) -> list[tuple[Floats, Floats]]:
        """Weights of seeds and of cases: both drawn, seeds alone, subjects alone; the first row is the sample itself."""
        there = tuple(np.flatnonzero(both.any(axis=1)).tolist())
        groups = tuple(np.unique(self._members[both.any(axis=0)]).tolist())
        seeds, drawn = drawn_again(
            self.seed, self.draws, (there, self.seeds), (groups, int(self._members.max(initial=0)) + 1)
        )
        cases = drawn[:, self._members]
        return [(seeds, cases), (seeds, np.ones_like(cases)), (np.ones_like(seeds), cases)]

    def _sums(
        self, terms: Sequence[tuple[float, Sequence[Floats]]], both: np.ndarray, seeds: Floats, cases: Floats
    ) -> Floats:
        """The weighted sum of products of the parts' weighted means, one a draw."""
        counts = ((seeds @ both) * cases).sum(axis=1)
        figures: list[Floats] = []
        for weight, parts in terms:
            product = np.ones(len(seeds))
            with np.errstate(invalid="ignore", divide="ignore"):
                for part in parts:
                    product *= ((seeds @ np.where(both, part, 0)) * cases).sum(axis=1) / counts
            figures.append(weight * product)
        return np.sum(figures, axis=0)


@lru_cache(maxsize=16)
def drawn_again(seed: int, draws: int, *units: tuple[tuple[int, ...], int]) -> list[Floats]:
    """How often each unit is drawn, for seeds and subjects (those that are there, and how many there may be): draws x units.

    The comparisons of an ablation ask for the same draws again and again; nobody may write into them.
    """
    rng, found = np.random.default_rng(seed), list[Floats]()
    for there, count in units:
        weights = np.zeros((draws + 1, count))
        weights[0] = 1
        if there:
            shares = np.full(len(there), 1 / len(there))
            weights[1:, there] = rng.multinomial(len(there), shares, size=draws)
        weights.flags.writeable = False
        found.append(weights)
    return found


def _ends(value: float, draws: Floats, error: float, freedom: float, level: float) -> tuple[float, float]:
    """Percentiles as far out as Student's t asks for, and Student's interval where that reaches further.

    Means of three seeds lie between the lowest and the highest of them however often they are drawn, and the truth lies outside
    in one world of four; with many units both agree.
    """
    spread = float(np.nanstd(draws)) if draws.size else 0.0
    if not np.isfinite(error):
        return float("nan"), float("nan")
    if not spread:
        centre = float(np.nanmean(draws))
        return centre, centre
    reach = float(stdtrit(freedom, (1 + level) / 2)) * error
    tail = 100 * ndtr(-reach / spread)
    low, high = np.nanpercentile(draws, [tail, 100 - tail])
    return min(float(low), value - reach), max(float(high), value + reach)


def _p(value: float, error: float, freedom: float) -> float:
    if not np.isfinite(error):
        return float("nan")
    return float(2 * stdtr(freedom, -abs(value) / error)) if error else float(value == 0)
