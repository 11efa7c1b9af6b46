"""Holm's adjustment against a published example, equivalence against the two one-sided tests by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from dynaip.errors import InputError
from dynaip.statistics.comparisons import holm, verdict
from dynaip.statistics.hierarchical import Hierarchy


def test_holm_as_in_r() -> None:
    """``p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")``."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    found = holm([0.01, float("nan"), 0.6])
    assert found[0] == pytest.approx(0.02) and np.isnan(found[1]) and found[2] == pytest.approx(0.6)
    assert holm([]) == []


@pytest.mark.parametrize(
    ("centre", "expected"), [(0.0, "equivalent"), (0.06, "higher"), (-0.06, "lower"), (0.03, "open")]
)
def test_verdicts(centre: float, expected: str) -> None:
    spread = np.random.default_rng(0).normal(size=60)
    spread = 0.1 * (spread - spread.mean()) / spread.std(ddof=1)
    values = centre + spread
    gap = Hierarchy(1, 60, draws=20_000).gap([values[None]], [np.zeros((1, 60))])
    inside = max(
        ttest_1samp(values, -0.03, alternative="greater").pvalue, ttest_1samp(values, 0.03, alternative="less").pvalue
    )
    assert (inside < 0.05) == (expected == "equivalent")
    adjusted = gap.p if expected != "open" else 0.2
    assert verdict(gap, adjusted, margin=0.03) == expected


def test_few_cases_leave_everything_open() -> None:
    gap = Hierarchy(1, 5).gap([np.full((1, 5), 0.9)], [np.full((1, 5), 0.1)])
    assert verdict(gap, 0.0) == "open"
    with pytest.raises(InputError, match="above 0"):
        verdict(gap, 0.0, margin=0)
