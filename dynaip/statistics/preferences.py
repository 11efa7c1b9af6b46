"""Strengths of arms from preferences between two of them: the model of Bradley and Terry, with intervals over raters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dynaip.statistics.intervals import Floats, interval

DRAWS = 1000
PARTS = 200
"""Draws from which a part's variance is taken, at most."""


@dataclass(frozen=True)
class Preference:
    """One answer: who was asked about which two arms; ``share`` is 1 for ``one``, 0 for ``other``, 0.5 for neither."""

    rater: str
    one: str
    other: str
    share: float
    case: str = ""
    """What the pictures show: answers about one case are drawn together, too."""


@dataclass(frozen=True)
class Strength:
    """An arm's log-strength (their mean is 0): the odds that it is preferred to another are exp of their difference."""

    arm: str
    value: float
    low: float
    high: float
    answers: int


@dataclass(frozen=True)
class Duel:
    """How likely ``one`` is preferred to ``other`` by the model, and the p-value of no preference (two-sided)."""

    one: str
    other: str
    share: float
    low: float
    high: float
    p: float
    answers: int


@dataclass(frozen=True)
class Ranking:
    """What a set of answers says of its arms, strongest first."""

    strengths: list[Strength]
    duels: list[Duel]


def bradley_terry(wins: Floats, *, virtual: float = 0.1, rounds: int = 500) -> Floats:
    """Log-strengths of arms from ``wins`` (… x arms x arms: how often the row beat the column; a tie is half for each).

    Bradley and Terry 1952, by the minorisation of Hunter 2004, "MM algorithms for generalized Bradley-Terry models". Each arm
    also won and lost ``virtual`` times against one of mean strength, which keeps an arm that never lost finite.
    """
    games = wins + wins.swapaxes(-1, -2)
    own = wins.sum(axis=-1) + virtual
    strengths = np.ones(own.shape)
    for _ in range(rounds):
        shared = games / (strengths[..., :, None] + strengths[..., None, :])
        fresh = own / (shared.sum(axis=-1) + 2 * virtual / (strengths + 1))
        fresh /= np.exp(np.log(fresh).mean(axis=-1, keepdims=True))
        done = np.abs(np.log(fresh) - np.log(strengths)).max(initial=0) < 1e-9
        strengths = fresh
        if done:
            break
    return np.log(strengths)


def rank(answers: Sequence[Preference], *, draws: int = DRAWS, seed: int = 0) -> Ranking:
    """Strengths and duels with 95 % intervals: raters, and cases if there are several, are drawn again with all answers.

    Drawing both counts the chance of a single answer three times; draws are brought to the variance for two ways of belonging
    together: that by raters plus that by cases minus that by answers (Cameron, Gelbach and Miller 2011, "Robust Inference With
    Multiway Clustering").
    """
    if not answers:
        return Ranking([], [])
    arms = list(dict.fromkeys(name for each in answers for name in (each.one, each.other)))
    raters, cases = ({name: at for at, name in enumerate(dict.fromkeys(names))} for names in (
        (each.rater for each in answers), (each.case for each in answers)))  # fmt: skip
    wins = np.zeros((len(raters), len(cases), len(arms), len(arms)))
    for each in answers:
        one, other, who, what = arms.index(each.one), arms.index(each.other), raters[each.rater], cases[each.case]
        wins[who, what, one, other] += each.share
        wins[who, what, other, one] += 1 - each.share
    rng = np.random.default_rng(seed)
    own, shown = (_drawn(rng, count, draws) for count in (len(raters), len(cases)))
    value = bradley_terry(wins.sum(axis=(0, 1)))
    drawn = bradley_terry(np.einsum("dr,dc,rcij->dij", own, shown, wins, optimize=True))
    alone = _drawn_alone(rng, wins, min(draws, PARTS)) if min(len(raters), len(cases)) > 1 else None

    def of(arms_weights: Floats) -> Floats:
        figure = drawn @ arms_weights
        if alone is None:
            return figure
        by_rater, by_case, by_answer = (float(np.var(part @ arms_weights)) for part in alone)
        wanted = max(by_rater + by_case - by_answer, by_rater, by_case)
        middle = value @ arms_weights
        return middle + (figure - middle) * (wanted / max(float(np.var(figure)), 1e-12)) ** 0.5

    unit = np.eye(len(arms))
    games = (wins + wins.swapaxes(-1, -2)).sum(axis=(0, 1))
    units = min(len(raters), len(cases)) if len(cases) > 1 else len(raters)
    order = sorted(range(len(arms)), key=lambda k: -value[k])
    strengths = [
        Strength(arms[k], float(value[k]), *interval(of(unit[k]), units), round(games[k].sum())) for k in order
    ]
    duels = [
        _duel(arms[i], arms[j], float(value[i] - value[j]), of(unit[i] - unit[j]), units, round(games[i, j]))
        for at, i in enumerate(order)
        for j in order[at + 1 :]
    ]
    return Ranking(strengths, duels)


def _drawn_alone(rng: np.random.Generator, wins: Floats, draws: int) -> tuple[Floats, Floats, Floats]:
    """Log-strengths where raters alone are drawn again, cases alone, and answers (of one rater on one case) alone."""
    answers = wins.reshape(-1, *wins.shape[2:])
    each = (wins.sum(axis=1), wins.sum(axis=0), answers[answers.any(axis=(1, 2))])
    by_rater, by_case, by_answer = (
        bradley_terry(np.einsum("dn,nij->dij", _drawn(rng, len(part), draws), part, optimize=True)) for part in each
    )
    return by_rater, by_case, by_answer


def _drawn(rng: np.random.Generator, count: int, draws: int) -> Floats:
    return rng.multinomial(count, np.full(count, 1 / count), size=draws).astype(np.float64)


def _duel(one: str, other: str, gap: float, draws: Floats, units: int, answers: int) -> Duel:
    low, high = (_odds(end) for end in interval(draws, units))
    below = float((draws <= 0).mean()) if len(draws) and units > 1 else float("nan")
    p = min(1.0, 2 * max(min(below, 1 - below), 1 / max(len(draws), 1))) if np.isfinite(below) else float("nan")
    return Duel(one, other, _odds(gap), low, high, p, answers)


def _odds(gap: float) -> float:
    return float(1 / (1 + np.exp(-gap)))
