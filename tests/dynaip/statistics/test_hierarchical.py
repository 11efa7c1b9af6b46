"""The bootstrap over seeds, subjects and cases, against worlds whose truth is known and against Student's interval."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_rel

from dynaip.statistics.hierarchical import Gap, Hierarchy, drawn_again


def test_one_level_is_students_paired_interval() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(0.5, 0.1, (2, 1, 40))
    gap = Hierarchy(1, 40, draws=20_000).gap([one], [other])
    truth = ttest_rel(one[0], other[0])
    low, high = truth.confidence_interval(0.95)
    assert gap.value == pytest.approx((one - other).mean())
    assert (gap.low, gap.high) == (pytest.approx(low, abs=0.002), pytest.approx(high, abs=0.002))
    assert gap.p == pytest.approx(truth.pvalue, abs=0.01)
    assert gap.freedom == 39 and not gap.crossed


def test_it_covers_where_seeds_subjects_and_cases_all_vary() -> None:
    """A bootstrap over cases alone, the seeds kept, holds the truth far less often in this world."""
    rng, hits, naive, trials = np.random.default_rng(1), 0, 0, 100
    subjects = [f"s{k // 6}" for k in range(48)]
    for trial in range(trials):
        by_seed = rng.normal(0, 0.05, (5, 1))
        by_subject = np.repeat(rng.normal(0, 0.08, 8), 6)[None]
        one = 0.5 + by_seed + by_subject + rng.normal(0, 0.05, (5, 48))
        other = 0.4 + rng.normal(0, 0.05, (5, 48))
        gap = Hierarchy(5, 48, subjects, draws=300, seed=trial).gap([one], [other])
        hits += gap.low <= 0.1 <= gap.high
        flat = Hierarchy(1, 48, draws=300, seed=trial).gap([one.mean(0)[None]], [other.mean(0)[None]])
        naive += flat.low <= 0.1 <= flat.high
    assert hits / trials >= 0.91
    assert naive / trials < 0.7


def test_it_covers_where_three_seeds_bring_most_of_the_chance() -> None:
    """Draws of three seeds never leave their range, which holds the truth in three worlds of four."""
    rng, hits, trials = np.random.default_rng(4), 0, 200
    for trial in range(trials):
        one = 0.1 + rng.normal(0, 0.08, (3, 1)) + rng.normal(0, 0.02, (3, 30))
        gap = Hierarchy(3, 30, draws=200, seed=trial).gap([one], [np.zeros((3, 30))])
        hits += gap.low <= 0.1 <= gap.high
        assert (gap.low > 0 or gap.high < 0) <= (gap.p < 0.05)  # the interval and the p-value say the same
    assert 0.91 <= hits / trials <= 0.98


def test_subjects_keep_their_cases() -> None:
    """Ten copies of a subject's case say no more than one."""
    values = np.random.default_rng(2).normal(0.2, 0.1, 12)
    single = Hierarchy(1, 12).gap([values[None]], [np.zeros((1, 12))])
    names = [f"s{k // 10}" for k in range(120)]
    copied = Hierarchy(1, 120, names).gap([np.repeat(values, 10)[None]], [np.zeros((1, 120))])
    # names sort as texts, so that draws may fall on other subjects: the width is the same, the ends nearly so
    assert copied.error == pytest.approx(single.error, rel=0.05)
    assert copied.subjects == 12 and copied.cases == 120


def test_a_product_of_means_on_what_both_have() -> None:
    cp = np.array([[0.2, 0.4, np.nan, 0.8]])
    pf = np.array([[1.0, 0.5, 0.9, 0.7]])
    other = np.array([[0.1, 0.1, 0.1, np.nan]])
    gap = Hierarchy(1, 4).gap([cp, pf], [other, other])
    assert gap.value == pytest.approx(0.3 * 0.75 - 0.01)
    assert gap.cases == 2


def test_one_unit_says_nothing() -> None:
    gap = Hierarchy(1, 1).gap([np.array([[0.5]])], [np.array([[0.1]])])
    assert gap.value == pytest.approx(0.4)
    assert np.isnan([gap.low, gap.high, gap.p]).all() and not gap.decided
    nothing = Hierarchy(1, 2).gap([np.array([[np.nan, 0.5]])], [np.array([[0.1, np.nan]])])
    assert np.isnan(nothing.value) and np.isnan(nothing.p)


def test_comparisons_of_the_same_units_share_their_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn once for all comparisons, and what comes out is that of a comparison which draws its own."""
    rng = np.random.default_rng(5)
    arms = rng.normal(0.5, 0.1, (4, 2, 31))
    alone: list[Gap] = []
    for arm in arms:
        drawn_again.cache_clear()
        alone.append(Hierarchy(2, 31, draws=200).gap([arm], [arms[0]]))
    drawn_again.cache_clear()
    made: list[int] = []
    real = np.random.default_rng
    monkeypatch.setattr(np.random, "default_rng", lambda seed: made.append(seed) or real(seed))
    shared = [Hierarchy(2, 31, draws=200).gap([arm], [arms[0]]) for arm in arms]
    assert made == [0]
    assert [(each.low, each.high, each.p) for each in shared] == [(each.low, each.high, each.p) for each in alone]
    arms[1, :, 3] = np.nan  # other units: other draws
    Hierarchy(2, 31, draws=200).gap([arms[1]], [arms[0]])
    Hierarchy(2, 31, draws=200, seed=1).gap([arms[2]], [arms[0]])
    assert made == [0, 0, 1]
