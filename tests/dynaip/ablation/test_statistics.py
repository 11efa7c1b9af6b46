"""Intervals against synthetic data whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm, t

from dynaip.ablation.statistics import Bootstrap, SuiteScores, collect
from dynaip.statistics.intervals import fair_level


def scores(values: dict[str, np.ndarray], arms: tuple[str, ...]) -> SuiteScores:
    _, seeds, cases = next(iter(values.values())).shape
    return SuiteScores("single", arms, tuple(range(seeds)), tuple(f"case-{k}" for k in range(cases)), values)


def test_interval_of_the_mean_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for trial in range(300):
        sample = rng.binomial(4, 0.6, size=(1, 1, 80)) / 4
        found = Bootstrap(scores({"cp": sample}, ("a",)), draws=600, seed=trial).estimate("a", "cp")
        hits += found.low <= 0.6 <= found.high
    assert 0.91 <= hits / 300 <= 0.98


def test_interval_of_the_product_of_means_covers_the_truth() -> None:
    rng = np.random.default_rng(2)
    hits = 0
    for trial in range(300):
        both = rng.multivariate_normal([0.5, 0.8], [[0.02, -0.01], [-0.01, 0.03]], size=100)
        values = {"cp": both[None, None, :, 0], "pf": both[None, None, :, 1]}
        found = Bootstrap(scores(values, ("a",)), draws=600, seed=trial).estimate("a", "cp_pf")
        hits += found.low <= 0.4 <= found.high
    assert 0.91 <= hits / 300 <= 0.98


@pytest.mark.parametrize("cases", [4, 8, 16])
def test_few_cases_are_covered_too(cases: int) -> None:
    """A plain percentile interval holds the truth in 80, 90 and 91 of 100 such worlds."""
    rng, hits = np.random.default_rng(cases), 0
    for trial in range(400):
        sample = rng.normal(0.5, 0.1, size=(1, 1, cases))
        found = Bootstrap(scores({"cp": sample}, ("a",)), draws=800, seed=trial).estimate("a", "cp")
        hits += found.low <= 0.5 <= found.high
    assert hits / 400 >= (0.85 if cases == 4 else 0.92)


@pytest.mark.parametrize("cases", [6, 8, 30])
def test_the_level_asked_for_is_that_of_student(cases: int) -> None:
    """The interval of many draws of a normal sample is as wide as Student's."""
    sample = np.random.default_rng(cases).normal(size=cases)
    half = t.ppf(0.975, cases - 1) * sample.std(ddof=1) / np.sqrt(cases)
    reach = norm.ppf((1 + fair_level(cases)) / 2) * sample.std() / np.sqrt(cases)
    assert reach == pytest.approx(half)


def test_fewer_than_six_cases_tell_nothing_apart() -> None:
    cp = np.stack([np.full(5, 0.9), np.full(5, 0.1)])[:, None] + np.random.default_rng(0).normal(0, 0.01, (2, 1, 5))
    gap = Bootstrap(scores({"cp": cp}, ("a", "b"))).difference("a", "b", "cp")
    assert gap.low > 0.5 and not gap.decided
    more = Bootstrap(scores({"cp": np.tile(cp, 2)}, ("a", "b"))).difference("a", "b", "cp")
    assert more.decided


def test_a_case_that_lacks_a_seed_counts_by_the_seeds_it_has() -> None:
    cp = np.array([[[0.2, 0.4, 0.6], [np.nan, 0.8, 1.0]]])
    found = Bootstrap(scores({"cp": cp}, ("a",))).estimate("a", "cp")
    assert found.value == pytest.approx(np.mean([0.2, 0.4, 0.8, 0.6, 1.0]))
    assert found.cases == 3
    assert (found.low, found.high) == (pytest.approx(0.2), pytest.approx(0.8)), (
        "the means of the lowest and highest case"
    )
    assert Bootstrap(scores({"cp": cp}, ("a",))).per_seed("a", "cp") == {0: pytest.approx(0.4), 1: pytest.approx(0.9)}


def test_a_product_takes_each_mean_over_the_seeds_that_have_it() -> None:
    """CP of one seed is missing in one case; PF of the same seed is there and counts."""
    cp = np.array([[[0.2, 0.6], [np.nan, 0.8]]])
    pf = np.array([[[1.0, 0.5], [0.4, 0.7]]])
    boot = Bootstrap(scores({"cp": cp, "pf": pf}, ("a",)))
    assert boot.estimate("a", "cp_pf").value == pytest.approx(np.nanmean(cp) * pf.mean())
    assert boot.estimate("a", "cp_pf").cases == 2
    assert boot.per_seed("a", "cp_pf") == {0: pytest.approx(0.4 * 0.75), 1: pytest.approx(0.8 * 0.55)}


def test_a_case_that_another_arm_lacks_in_one_seed_stays_paired() -> None:
    cp = np.array([[[0.5, 0.7], [0.7, 0.9]], [[0.1, 0.3], [np.nan, 0.5]]])
    gap = Bootstrap(scores({"cp": cp}, ("a", "b"))).difference("a", "b", "cp")
    assert gap.cases == 2
    assert gap.value == pytest.approx(cp[0].mean() - np.nanmean(cp[1]))


def test_metrics_that_a_suite_lacks_have_no_figures() -> None:
    boot = Bootstrap(scores({"clip": np.full((1, 1, 8), 0.3)}, ("a",)))
    assert np.isnan(boot.estimate("a", "cp_pf").value)
    assert boot.estimate("a", "cp_pf").cases == 0
    assert boot.per_seed("a", "cp_pf") == {}
    assert boot.ranking(metric="clip") == ["a"]


def test_every_column_with_numbers_is_a_metric() -> None:
    rows = [
        {"arm": "a", "seed": 0, "suite": "s", "case": "x", "note": "fine", "mine": None, "cp": 0.1},
        {"arm": "a", "seed": 0, "suite": "s", "case": "y", "note": "fine", "mine": 2, "empty": float("nan")},
    ]
    (suite,) = collect(rows)
    assert list(suite.values) == ["cp", "mine"]


def test_interval_equals_the_normal_one_on_many_cases() -> None:
    sample = np.random.default_rng(3).normal(0.5, 0.1, size=(1, 1, 4000))
    found = Bootstrap(scores({"leak": sample}, ("a",)), draws=4000).estimate("a", "leak")
    half = 1.96 * sample.std() / np.sqrt(4000)
    assert found.value == pytest.approx(sample.mean())
    assert found.low == pytest.approx(sample.mean() - half, abs=half / 10)
    assert found.high == pytest.approx(sample.mean() + half, abs=half / 10)


def test_pairing_sees_a_small_gap_that_the_spread_of_cases_hides() -> None:
    rng = np.random.default_rng(4)
    hard = rng.uniform(0, 1, size=200)
    cp = np.stack([hard + 0.02 + rng.normal(0, 0.02, 200), hard])[:, None]
    boot = Bootstrap(scores({"cp": cp, "pf": np.ones_like(cp)}, ("better", "worse")))
    gap = boot.difference("better", "worse")
    assert gap.decided
    assert gap.low > 0.01
    assert gap.high < 0.03
    assert boot.estimate("better", "cp_pf").low < boot.estimate("worse", "cp_pf").high
    assert boot.difference("worse", "better").value == pytest.approx(-gap.value)


def test_equal_arms_are_rarely_told_apart() -> None:
    rng = np.random.default_rng(5)
    decided = 0
    for trial in range(300):
        cp = rng.uniform(0, 1, size=(2, 1, 60))
        boot = Bootstrap(scores({"cp": cp, "pf": np.ones_like(cp)}, ("a", "b")), draws=500, seed=trial)
        decided += boot.difference("a", "b").decided
    assert decided / 300 <= 0.10


def test_seeds_stay_with_their_case() -> None:
    one = np.random.default_rng(6).uniform(0, 1, size=(1, 1, 50))
    many = np.repeat(one, 4, axis=1)
    single = Bootstrap(scores({"cp": one}, ("a",))).estimate("a", "cp")
    repeated = Bootstrap(scores({"cp": many}, ("a",))).estimate("a", "cp")
    assert repeated.low == pytest.approx(single.low)
    assert repeated.high == pytest.approx(single.high)


def test_difference_uses_the_cases_that_both_arms_have() -> None:
    cp = np.array([[[0.9, 0.1, 0.5]], [[0.8, np.nan, 0.4]]])
    boot = Bootstrap(scores({"cp": cp, "pf": np.ones_like(cp)}, ("a", "b")))
    gap = boot.difference("a", "b", "cp")
    assert gap.cases == 2
    assert gap.value == pytest.approx(0.1)


def test_figures_without_cases_are_not_a_number() -> None:
    boot = Bootstrap(scores({"cp": np.array([[[0.5]], [[np.nan]]])}, ("one", "none")))
    assert np.isnan(boot.estimate("one", "cp").low)
    assert boot.estimate("one", "cp").value == 0.5
    assert np.isnan(boot.estimate("none", "cp").value)
    assert boot.estimate("none", "cp").cases == 0
    assert not boot.difference("one", "none", "cp").decided
    assert boot.ranking(metric="cp") == ["one"]


def test_collect_aligns_rows_whatever_their_order() -> None:
    rows = [
        {"arm": "b", "seed": 1, "suite": "single", "case": "y", "cp": 0.4, "pf": 1.0, "leak": None},
        {"arm": "a", "seed": 0, "suite": "single", "case": "x", "cp": 0.1, "pf": 0.5, "leak": 0.2},
        {"arm": "a", "seed": 0, "suite": "multi2", "case": "z", "cp": 0.7, "pf": 0.5, "leak": 0.2},
    ]
    single, multi = collect(rows)
    assert (single.suite, multi.suite, single.seeds) == ("single", "multi2", (0, 1))
    at = single.arms.index("b"), single.seeds.index(1), single.cases.index("y")
    assert single.values["cp"][at] == 0.4
    assert np.isnan(single.values["leak"][at])
    assert Bootstrap(single).per_seed("b", "cp_pf") == {1: pytest.approx(0.4)}


def test_same_seed_same_figures() -> None:
    sample = np.random.default_rng(7).uniform(size=(1, 1, 30))
    first, second = (Bootstrap(scores({"cp": sample}, ("a",)), seed=9).estimate("a", "cp") for _ in range(2))
    assert first == second
