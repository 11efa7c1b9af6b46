"""Bradley and Terry's model against logistic regression, and its intervals on raters with known preferences."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import t

from dynaip.statistics.preferences import Preference, bradley_terry, rank


def test_equals_maximum_likelihood() -> None:
    wins = np.array([[0, 12, 15], [8, 0, 11.5], [5, 8.5, 0]])

    def loss(free: np.ndarray) -> float:
        value = np.array([*free, -free.sum()])
        return float((wins * np.log1p(np.exp(value[None, :] - value[:, None]))).sum())

    truth = minimize(loss, np.zeros(2), tol=1e-10).x
    assert bradley_terry(wins, virtual=1e-9)[:2] == pytest.approx(truth, abs=1e-3)


def test_an_arm_that_never_lost_is_finite() -> None:
    found = bradley_terry(np.array([[0, 9.0], [0, 0]]))
    assert np.isfinite(found).all() and found[0] > 2


def simulated(seed: int, strengths: dict[str, float], raters: int, spread: float = 0.4) -> list[Preference]:
    rng, answers = np.random.default_rng(seed), []
    for rater in range(raters):
        own = {arm: value + rng.normal(0, spread) for arm, value in strengths.items()}
        for one, other in combinations(strengths, 2):
            for _ in range(6):
                share = float(rng.uniform() < 1 / (1 + np.exp(own[other] - own[one])))
                answers.append(Preference(str(rater), one, other, share))
    return answers


def test_intervals_cover_known_preferences() -> None:
    strengths, hits, count = {"a": 0.5, "b": 0.0, "c": -0.5}, 0, 0
    truth = {each.arm: each.value for each in rank(simulated(999, strengths, 3000), draws=2).strengths}
    assert truth == pytest.approx(strengths, abs=0.08), (
        "raters who differ among themselves are a little less decided together"
    )
    for seed in range(40):
        found = rank(simulated(seed, strengths, 15), draws=150, seed=seed)
        for each in found.strengths:
            hits += each.low <= truth[each.arm] <= each.high
            count += 1
    assert hits / count >= 0.88


def test_answers_that_share_nothing_count_once() -> None:
    """Where neither raters nor cases differ, the interval is that of a share of independent answers, not of raters and cases."""
    rng = np.random.default_rng(5)
    answers = [Preference(str(r), "a", "b", float(rng.random() < 0.6), str(c)) for r in range(40) for c in range(12)]
    [duel] = rank(answers).duels
    share = np.mean([each.share for each in answers])
    reach = t.ppf(0.975, 11) * (share * (1 - share) / (480 - 40)) ** 0.5
    assert duel.share == pytest.approx(share, abs=0.005)
    assert duel.high - duel.low == pytest.approx(2 * reach, rel=0.25)


def test_a_clear_preference_is_told_and_none_is_not() -> None:
    found = rank(simulated(0, {"good": 0.8, "bad": -0.8}, 20))
    assert [each.arm for each in found.strengths] == ["good", "bad"]
    [duel] = found.duels
    assert duel.low > 0.5 and duel.p < 0.05 and duel.answers == 120
    even = rank([Preference(str(k), "a", "b", float(k % 2)) for k in range(40)])
    assert even.duels[0].low < 0.5 < even.duels[0].high and even.duels[0].p > 0.3
    assert rank([]).strengths == []
    assert np.isnan(rank([Preference("x", "a", "b", 1.0)]).duels[0].low), "one rater says nothing of others"
