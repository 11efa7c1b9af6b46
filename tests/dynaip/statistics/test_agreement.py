"""Agreement against published figures and by hand."""

from __future__ import annotations

import numpy as np
import pytest

from dynaip.statistics.agreement import alpha, confusion, kendall, over_units, spearman

NONE = float("nan")
PUBLISHED = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NONE, NONE, NONE],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NONE, 3],
        [NONE, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NONE],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NONE],
    ]
)
"""Four observers, twelve units: Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", section E."""


def test_alpha_as_published() -> None:
    assert alpha(PUBLISHED, "nominal") == pytest.approx(0.743, abs=5e-4)
    assert alpha(PUBLISHED, "ordinal") == pytest.approx(0.815, abs=5e-4)
    assert alpha(PUBLISHED, "interval") == pytest.approx(0.849, abs=5e-4)
    assert alpha(PUBLISHED, "ratio") == pytest.approx(0.797, abs=5e-4)


def test_nothing_to_agree_on_is_not_a_number() -> None:
    assert np.isnan(alpha(np.full((2, 5), 3.0)))
    assert np.isnan(alpha(np.array([[1.0, NONE], [NONE, 2.0]])))
    assert np.isnan(spearman(np.ones(5), np.arange(5.0)))


def test_rank_correlations_by_hand() -> None:
    one, other = np.array([1.0, 2, 3, 4, NONE]), np.array([1.0, 3, 2, 4, 9])
    assert spearman(one, other) == pytest.approx(0.8)
    assert kendall(one, other) == pytest.approx((5 - 1) / 6)


def test_an_interval_over_units_covers() -> None:
    rng, hits = np.random.default_rng(0), 0
    for trial in range(60):
        both = rng.multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], size=60)
        found = over_units(lambda at, both=both: float(np.corrcoef(both[at].T)[0, 1]), 60, draws=100, seed=trial)
        hits += found.low <= 0.6 <= found.high
    assert hits / 60 >= 0.88


def test_confusion_counts_the_nearest_level() -> None:
    counts = confusion(np.array([0, 1.9, 4, NONE]), np.array([1, 2, 4, 2.0]), np.arange(5.0))
    assert counts.sum() == 3 and counts[0, 1] == counts[2, 2] == counts[4, 4] == 1
