"""Sample sizes against published ones and against simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from dynaip.errors import InputError
from dynaip.statistics.power import detectable, power, preference_power, raters_needed, units_needed


@pytest.mark.parametrize(("effect", "units"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_units_as_in_gpower(effect: float, units: int) -> None:
    """Paired t-test, two-sided 5 %, power 80 %: the figures of G*Power."""
    assert units_needed(effect, 1.0) == units
    assert power(effect, 1.0, units) >= 0.8 > power(effect, 1.0, units - 1)
    found = detectable(1.0, units)
    assert power(found, 1.0, units) == pytest.approx(0.8, abs=1e-6) and found <= effect


def test_raters_by_simulation() -> None:
    answers = raters_needed(0.6, pairs=1, alike=0)
    rng = np.random.default_rng(0)
    found = np.mean([binomtest(int(rng.binomial(answers, 0.6)), answers).pvalue < 0.05 for _ in range(400)])
    assert answers == pytest.approx(194, abs=3)
    assert found == pytest.approx(preference_power(0.6, answers), abs=0.06)


def test_answers_of_one_rater_are_worth_less() -> None:
    alone = raters_needed(0.55, pairs=40, alike=0)
    assert raters_needed(0.55, pairs=40, alike=0.05) == pytest.approx(alone * (1 + 39 * 0.05), rel=0.05)


def test_mistakes() -> None:
    with pytest.raises(InputError, match="smallest one"):
        units_needed(0, 1)
    with pytest.raises(InputError, match="one half"):
        raters_needed(0.5, 10)
    assert np.isnan(power(1, 1, 1))
