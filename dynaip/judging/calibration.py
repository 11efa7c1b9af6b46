"""A judge held against people: how far they agree, beside how far people agree among themselves; where it errs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynaip.errors import InputError
from dynaip.judging.ratings import Rating
from dynaip.notes import tell
from dynaip.statistics.agreement import DRAWS, Figure, alpha, confusion, kendall, over_units, spearman
from dynaip.statistics.hierarchical import Hierarchy
from dynaip.statistics.intervals import Floats

LEVELS = np.arange(5.0)
"""What people give, 0 to 4."""
FEWEST = 3
PAIRS = 30
"""Pairs of raters that are looked at, at most."""


@dataclass(frozen=True)
class Bias:
    """Judge minus the mean of people over the cases of one category, on the scale of 0 to 4."""

    category: str
    cases: int
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Means:
    """An arm's score from 0 to 1 as DreamBench++ computes it: the mean of its cases by each rater, then over raters."""

    arm: str
    cases: int
    judge: float
    people: float


@dataclass(frozen=True)
class Calibration:
    """Agreement of a judge with people, on the scale of 0 to 4."""

    cases: int
    raters: int
    figures: Mapping[str, Figure]
    confusion: NDArray[np.int64]
    """People's median (rows) against the judge (columns), levels 0 to 4."""
    bias: list[Bias]
    means: list[Means]
    """Of the arms that both sides name, over the cases that both rated."""

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "cases": self.cases,
            "raters": self.raters,
            "figures": {name: asdict(figure) for name, figure in self.figures.items()},
            "confusion": self.confusion.tolist(),
            "bias": [asdict(each) for each in self.bias],
            "means": [asdict(each) for each in self.means],
        }


def calibrate(judge: Sequence[Rating], people: Sequence[Rating], *, draws: int = DRAWS, seed: int = 0) -> Calibration:
    """Compare ratings (0 to 4) on the cases that both rated; several ratings of one rater become their mean.

    Krippendorff's alpha (ordinal, values to the nearest quarter) and rank correlations come with intervals over cases. Raises
    ``InputError`` if fewer than three cases are rated by both, or if only one side says which of several arms it rates.
    """
    judge, people = _by_arm(judge, people)
    own, raters = _means(judge, by_rater=False), _means(people, by_rater=True)
    known = {case for _, case in own}
    cases = list(dict.fromkeys(case for _, case in raters if case in known))
    if len(cases) < FEWEST:
        shown = " and ".join(next((each.case for each in side), "none") for side in (judge, people))
        raise InputError(
            f"judge and people share {len(cases)} cases: their names must be the same in both, and are such as {shown}"
        )
    rated = {case for _, case in raters}
    for who, alone in (("people rated", rated - known), ("the judge rated", known - rated)):
        if alone:
            tell(f"{len(alone)} cases that {who} alone are left out, {min(alone)} for one")
    names = list(dict.fromkeys(rater for rater, _ in raters))
    theirs = np.array([[raters.get((rater, case), np.nan) for case in cases] for rater in names])
    values = np.array([own["", case] for case in cases])
    mean = np.nanmean(theirs, axis=0)
    figures = _figures(values, theirs, mean, draws, seed)
    category = {each.case: each.category for each in (*judge, *people) if each.category}
    median = np.nanmedian(theirs, axis=0)
    return Calibration(
        len(cases), len(names), figures, confusion(median, values, LEVELS), _bias(cases, values, mean, category, seed),
        _arm_means(cases, values, theirs, {each.case: each.arm for each in people if each.arm}),
    )  # fmt: skip


def _by_arm(*sides: Sequence[Rating]) -> list[list[Rating]]:
    """Ratings whose cases are told apart by arm, where both sides name arms; one arm alone needs no name."""
    arms = [sorted({each.arm for each in side}) for side in sides]
    named = all(any(found) for found in arms)
    if not named and (lacking := max(arms, key=len))[1:]:
        raise InputError(
            f"one side rates pictures of several arms ({', '.join(filter(None, lacking))}), and the other does not say whose it "
            "rates: add a column arm, or give the scores of one arm, arms/NAME/scores.parquet"
        )
    return [
        [replace(each, case=f"{each.arm}/{each.case}" if named and each.arm else each.case) for each in side]
        for side in sides
    ]


def _means(ratings: Sequence[Rating], *, by_rater: bool) -> dict[tuple[str, str], float]:
    every: dict[tuple[str, str], list[float]] = {}
    for each in ratings:
        every.setdefault((each.rater if by_rater else "", each.case), []).append(each.value)
    return {key: float(np.mean(values)) for key, values in every.items()}


def _figures(values: Floats, theirs: Floats, mean: Floats, draws: int, seed: int) -> dict[str, Figure]:
    judge, people, middle = (np.round(each * 4) / 4 for each in (values, theirs, mean))
    pairs = list(combinations(range(len(people)), 2))[:PAIRS]
    one_by_one = [np.stack([judge, rater]) for rater in people[:PAIRS]]
    two_by_two = [people[[one, other]] for one, other in pairs]
    wanted: dict[str, Callable[[NDArray[np.int64]], float]] = {
        "alpha, judge and the mean of people": lambda at: alpha(np.stack([judge, middle])[:, at]),
        "alpha, judge and one person": lambda at: _mean([alpha(each[:, at]) for each in one_by_one]),
        "spearman, judge and the mean of people": lambda at: spearman(values[at], mean[at]),
        "kendall, judge and the mean of people": lambda at: kendall(values[at], mean[at]),
    }
    if len(people) > 1:
        wanted["alpha, two people"] = lambda at: _mean([alpha(each[:, at]) for each in two_by_two])
        wanted["alpha, all people"] = lambda at: alpha(people[:, at])
    return {name: over_units(figure, len(values), draws=draws, seed=seed) for name, figure in wanted.items()}


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if value == value]
    return sum(known) / len(known) if known else float("nan")


def _arm_means(cases: Sequence[str], values: Floats, theirs: Floats, arms: Mapping[str, str]) -> list[Means]:
    found: list[Means] = []
    for name in sorted(set(arms.values())):
        at = np.array([arms.get(case) == name for case in cases])
        if at.any():
            rated = theirs[np.isfinite(theirs[:, at]).any(axis=1)][:, at]
            people = float(np.nanmean(rated, axis=1).mean()) / LEVELS[-1]
            found.append(Means(name, int(at.sum()), float(values[at].mean()) / LEVELS[-1], people))
    return found


def _bias(cases: Sequence[str], values: Floats, mean: Floats, category: Mapping[str, str], seed: int) -> list[Bias]:
    names = [category.get(case, "") for case in cases]
    found: list[Bias] = []
    for name in ["all", *sorted(set(names) - {""})]:
        at = np.array([name in ("all", each) for each in names])
        gap = Hierarchy(1, int(at.sum()), seed=seed).gap([values[None, at]], [mean[None, at]])
        found.append(Bias(name, gap.cases, gap.value, gap.low, gap.high))
    return found
