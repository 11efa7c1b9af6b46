"""Figures with draws: as wide as few groups ask for, whatever is made of them."""

from __future__ import annotations

import numpy as np
import pytest

from dynaip_analysis.inference.resampling import Sampled, mean, weighted_mean


def test_few_groups_are_covered() -> None:
    """Eight identities of five pictures each, alike within: a plain percentile interval holds the truth in 90 of 100 worlds."""
    rng, hits = np.random.default_rng(0), 0
    for seed in range(400):
        values = np.repeat(rng.normal(0.5, 0.1, size=8), 5)
        found = weighted_mean(values, np.ones(40), np.repeat(np.arange(8), 5), seed=seed)
        hits += found.low <= 0.5 <= found.high
    assert 0.92 <= hits / 400 <= 0.98


def test_what_is_made_of_figures_is_as_uncertain_as_its_scarcest() -> None:
    values, groups = np.linspace(0, 1, 12), np.arange(12)
    many = weighted_mean(values, np.ones(12), groups)
    few = weighted_mean(values, (groups < 4).astype(float), groups)
    assert (many.groups, few.groups) == (12, 4)
    assert (many - few).groups == mean([many, few]).groups == 4
    wide = Sampled(many.value, many.draws, 4)
    assert wide.low < many.low and wide.high > many.high


def test_one_group_has_no_interval_and_decides_nothing() -> None:
    found = weighted_mean(np.array([0.4, 0.6]), np.ones(2), np.zeros(2, int))
    assert found.value == pytest.approx(0.5)
    assert np.isnan([found.low, found.high]).all()
    assert not found.decided


def test_five_groups_that_agree_decide_nothing_and_six_do() -> None:
    five, six = (weighted_mean(np.linspace(0.8, 0.9, n), np.ones(n), np.arange(n)) for n in (5, 6))
    assert five.low > 0 and six.low > 0
    assert (five.decided, six.decided) == (False, True)
