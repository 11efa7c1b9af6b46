"""Intervals for the figures of an ablation: a bootstrap over cases, paired by case (ours).

Cases are the units that chance draws. Whatever else repeats a case (the training seeds of an arm) stays with it when
cases are drawn again, so that intervals are as wide as the number of cases allows, not narrower by added seeds.
The chance of training itself is not in these intervals; ``Bootstrap.per_seed`` shows it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dynaip.statistics.intervals import DRAWS, FEWEST, LEVEL, Floats, interval

KEYS = frozenset({"arm", "seed", "suite", "case"})
"""Columns that say what a row is of."""
PRODUCTS: Mapping[str, tuple[str, str]] = {"cp_pf": ("cp", "pf")}
"""Metrics that are the product of the means of two others."""


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval; NaN where fewer than two cases leave nothing to draw from."""

    value: float
    low: float
    high: float
    cases: int

    @property
    def decided(self) -> bool:
        """Whether the interval excludes zero, over as many cases as can tell anything apart."""
        return self.cases >= FEWEST and bool(self.low > 0 or self.high < 0)


@dataclass(frozen=True)
class Difference(Estimate):
    """An arm minus another on the cases that both have."""


@dataclass(frozen=True)
class SuiteScores:
    """The scores of one suite, aligned by arm, seed and case."""

    suite: str
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    cases: tuple[str, ...]
    values: Mapping[str, Floats] = field(repr=False)
    """Metric -> arms x seeds x cases; NaN where an arm has no such value."""


def collect(rows: Iterable[Mapping[str, object]], metrics: Sequence[str] | None = None) -> list[SuiteScores]:
    """Align rows (``arm``, ``seed``, ``suite``, ``case``, metric columns) into one table a suite, as they appear.

    ``metrics`` None takes every column that holds numbers.
    """
    by_suite: dict[str, list[Mapping[str, object]]] = {}
    for row in rows:
        by_suite.setdefault(str(row["suite"]), []).append(row)
    every = metrics_of(row for found in by_suite.values() for row in found) if metrics is None else metrics
    return [_align(suite, found, every) for suite, found in by_suite.items()]


def metrics_of(rows: Iterable[Mapping[str, object]]) -> list[str]:
    """Columns with at least one number, in the order in which they appear."""
    numbers = (
        name for row in rows for name, value in row.items() if name not in KEYS and math.isfinite(_number(value))
    )
    return list(dict.fromkeys(numbers))


def _align(suite: str, rows: Sequence[Mapping[str, object]], metrics: Sequence[str]) -> SuiteScores:
    arms = {name: i for i, name in enumerate(dict.fromkeys(str(row["arm"]) for row in rows))}
    seeds = {seed: i for i, seed in enumerate(sorted({int(str(row["seed"])) for row in rows}))}
    cases = {case: i for i, case in enumerate(dict.fromkeys(str(row["case"]) for row in rows))}
    values = {name: np.full((len(arms), len(seeds), len(cases)), np.nan) for name in metrics}
    for row in rows:
        place = arms[str(row["arm"])], seeds[int(str(row["seed"]))], cases[str(row["case"])]
        for name in metrics:
            values[name][place] = _number(row.get(name))
    return SuiteScores(suite, tuple(arms), tuple(seeds), tuple(cases), values)


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else float("nan")


@dataclass(frozen=True)
class Bootstrap:
    """Intervals from ``draws`` resamplings of a suite's cases, as wide as few cases ask for; the same seed, the same figures."""

    scores: SuiteScores
    draws: int = DRAWS
    seed: int = 0
    level: float = LEVEL

    @cached_property
    def resampled(self) -> Floats:
        """How often each case is drawn, draws x cases; the first row is the sample itself."""
        cases = len(self.scores.cases)
        drawn = np.random.default_rng(self.seed).multinomial(cases, np.full(cases, 1 / cases), size=self.draws)
        return np.concatenate([np.ones((1, cases)), drawn.astype(np.float64)])

    def estimate(self, arm: str, metric: str) -> Estimate:
        """Mean of a metric over all cases and seeds of an arm (or the product of two means) with its interval."""
        keep = self._present(arm, metric)
        return Estimate(*self._found(self._means(arm, metric, keep), keep), int(keep.sum()))

    def difference(self, arm: str, other: str, metric: str = "cp_pf") -> Difference:
        """``arm`` minus ``other``, paired: both are drawn on the same cases, those that both have."""
        keep = self._present(arm, metric) & self._present(other, metric)
        gap = self._means(arm, metric, keep) - self._means(other, metric, keep)
        return Difference(*self._found(gap, keep), int(keep.sum()))

    def ranking(self, arms: Iterable[str] | None = None, metric: str = "cp_pf") -> list[str]:
        """Arms from the highest figure to the lowest; arms without one are left out."""
        values = {name: self.estimate(name, metric).value for name in (self.scores.arms if arms is None else arms)}
        found = [name for name, value in values.items() if np.isfinite(value)]
        return sorted(found, key=lambda name: -values[name])

    def per_seed(self, arm: str, metric: str) -> dict[int, float]:
        """The figure of each training seed alone."""
        names, at = self._parts(metric), self.scores.arms.index(arm)
        if not set(names) <= set(self.scores.values):
            return {}
        figures: dict[int, float] = {}
        for k, seed in enumerate(self.scores.seeds):
            columns = [self.scores.values[name][at, k] for name in names]
            if all(np.isfinite(column).any() for column in columns):
                figures[seed] = math.prod(float(column[np.isfinite(column)].mean()) for column in columns)
        return figures

    def _parts(self, metric: str) -> tuple[str, ...]:
        return PRODUCTS.get(metric, (metric,))

    def _present(self, arm: str, metric: str) -> NDArray[np.bool_]:
        if arm not in self.scores.arms or not set(self._parts(metric)) <= set(self.scores.values):
            return np.zeros(len(self.scores.cases), dtype=bool)
        at = self.scores.arms.index(arm)
        parts = [np.isfinite(self.scores.values[name][at]).any(axis=0) for name in self._parts(metric)]
        return np.logical_and.reduce(parts)

    def _means(self, arm: str, metric: str, keep: NDArray[np.bool_]) -> Floats:
        if not keep.any():
            return np.full(self.draws + 1, np.nan)
        at, drawn = self.scores.arms.index(arm), self.resampled[:, keep]
        product = np.ones(len(drawn))
        for name in self._parts(metric):
            values = self.scores.values[name][at][:, keep]
            with np.errstate(invalid="ignore", divide="ignore"):
                product *= drawn @ np.nansum(values, axis=0) / (drawn @ np.isfinite(values).sum(axis=0))
        return product

    def _found(self, draws: Floats, keep: NDArray[np.bool_]) -> tuple[float, float, float]:
        return float(draws[0]), *interval(draws[1:], int(keep.sum()), self.level)
