"""Probes of features with a planted factor, and of features that only know the identity."""

from __future__ import annotations

import numpy as np
import pytest

from dynaip.errors import InputError
from dynaip_analysis.inference.probes import HALVINGS, probe, probe_halves, usable
from dynaip_analysis.inference.resampling import halved, mean, weighted_mean

GROUPS = np.repeat(np.arange(30), 6)
COLOUR = np.random.default_rng(0).integers(0, 4, 30)[GROUPS]
"""Belongs to the identity."""
POSE = np.random.default_rng(1).integers(0, 3, len(GROUPS))
"""Differs from picture to picture."""


def features(planted: np.ndarray, strength: float = 3.0) -> np.ndarray:
    noise = np.random.default_rng(1).normal(size=(len(planted), 20))
    noise[:, :4] += strength * np.eye(4)[planted]
    return noise


def test_the_planted_factor_is_read_and_the_other_is_not() -> None:
    found = {each.factor: each for each in probe(features(POSE), {"pose": POSE, "colour": COLOUR}, GROUPS)}
    assert found["pose"].accuracy().value > 0.9
    assert found["pose"].selectivity().low > 0.7
    colour = found["colour"].selectivity()
    assert colour.low < 0 < colour.high
    assert found["colour"].cases == len(GROUPS)


def test_a_layer_that_knows_who_it_is_but_not_what_colour(rng: np.random.Generator) -> None:
    """Identities held out: one that is remembered by itself tells nothing about the colour of another."""
    remembered = np.eye(30)[GROUPS] + 0.01 * rng.normal(size=(len(GROUPS), 30))
    (found,) = probe(remembered, {"colour": COLOUR}, GROUPS)
    assert found.accuracy().value < 0.45, "a split that cuts through identities would read all of it"


def test_of_three_layers_the_planted_one_leads() -> None:
    layers = [features(POSE, strength) for strength in (0.0, 2.0, 0.5)]
    found = [probe(each, {"pose": POSE}, GROUPS)[0].selectivity().value for each in layers]
    assert int(np.argmax(found)) == 1
    assert abs(found[0]) < 0.2


def test_control_labels_stay_with_the_identity_if_the_factor_does() -> None:
    (found,) = probe(features(COLOUR), {"colour": COLOUR}, GROUPS)
    row = found.row()
    assert row["chance"] == 0.25
    assert row["shuffled"] < row["accuracy"] - 0.4
    assert row["accuracy_low"] <= row["accuracy"] <= row["accuracy_high"]
    expected = (row["accuracy"] - row["shuffled"]) / (1 - row["shuffled"])
    assert row["selectivity"] == pytest.approx(expected)


@pytest.mark.parametrize("of_identity", [True, False])
def test_values_of_unequal_number(of_identity: bool) -> None:
    """One in ten: guessing the common value is worth nothing, neither with the true labels nor with shuffled ones."""
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(100), 3)
    rare = (rng.random(100) < 0.1)[groups] if of_identity else rng.random(300) < 0.1
    values = rare.astype(np.int64)
    planted = 3 * rare[:, None] + 0.1 * rng.normal(size=(300, 4))
    (read,) = probe(planted, {"rare": values}, groups)
    assert read.accuracy().value == 1
    assert read.selectivity().value == pytest.approx(1)
    assert read.shuffled().value == pytest.approx(0.5, abs=0.15)
    (noise,) = probe(rng.normal(size=(300, 4)), {"rare": values}, groups)
    assert noise.selectivity().low < 0 < noise.selectivity().high
    assert noise.accuracy().value == pytest.approx(0.5, abs=0.2)


def test_a_weak_sign_of_a_rare_value_is_not_drowned() -> None:
    """Two normal distributions 1.5 deviations apart, parted at the mean of all (0.15): half of 0.56 + 0.91 is named rightly.

    The value with the higher score would be the common one nearly always.
    """
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(400), 2)
    values = (rng.random(800) < 0.1).astype(np.int64)
    (found,) = probe(1.5 * values[:, None] + rng.normal(size=(800, 1)), {"rare": values}, groups)
    assert found.accuracy().value == pytest.approx(0.735, abs=0.05)


def test_pictures_whose_value_is_unknown_take_no_part() -> None:
    known = np.where(np.arange(len(POSE)) % 3 == 0, -1, POSE)
    (found,) = probe(features(POSE), {"pose": known}, GROUPS)
    assert found.cases == (known >= 0).sum()
    assert found.classes == 3
    assert found.accuracy().value > 0.9


def test_values_of_a_single_identity_cannot_be_probed() -> None:
    groups = np.array([0, 0, 1, 1, 2, 2])
    np.testing.assert_array_equal(usable(np.array([5, 5, 7, 8, 7, 8]), groups), [-1, -1, 7, 8, 7, 8])
    assert probe(features(POSE), {"identity": GROUPS}, GROUPS) == []


def test_too_few_identities_are_refused() -> None:
    with pytest.raises(InputError, match="need 5 of them; there are 3"):
        probe(np.zeros((6, 2)), {"a": np.array([0, 1] * 3)}, np.array([0, 0, 1, 1, 2, 2]))


def test_intervals_are_as_wide_as_the_number_of_identities_allows(rng: np.random.Generator) -> None:
    values = rng.integers(0, 2, 30).astype(float)[GROUPS]
    ones = np.ones(len(values))
    by_identity, by_case = weighted_mean(values, ones, GROUPS), weighted_mean(values, ones, np.arange(len(values)))
    assert by_identity.value == by_case.value == values.mean()
    assert by_identity.high - by_identity.low > 1.8 * (by_case.high - by_case.low)
    spread = np.sqrt(values.mean() * (1 - values.mean()) / 30)
    assert by_identity.high - by_identity.low == pytest.approx(2 * 1.96 * spread, rel=0.15)


def test_paired_figures() -> None:
    one = weighted_mean(COLOUR.astype(float), np.ones(len(COLOUR)), GROUPS)
    shifted = weighted_mean(COLOUR + 0.5, np.ones(len(COLOUR)), GROUPS)
    assert (shifted - one).low == pytest.approx(0.5)
    assert mean([one, shifted]).value == pytest.approx(one.value + 0.25)
    assert (shifted - one).decided


def test_halves_give_the_spread_of_the_whole() -> None:
    """The mean of 400 numbers of variance 1: halvings find the standard error 1/20, and draws with the same halvings pair."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=400)
    gaps = np.array(
        [(lambda k: values[k[:200]].mean() - values[k[200:]].mean())(rng.permutation(400)) for _ in range(200)]
    )
    found = halved(values.mean(), gaps)
    assert float(found.draws.std()) == pytest.approx(1 / 20, rel=0.15)
    np.testing.assert_allclose((halved(3.0, gaps) - halved(1.0, gaps)).draws, 2.0)
    assert halved(0.0, np.append(gaps, np.nan)).high == pytest.approx(found.high - found.value, rel=0.2)


def test_intervals_by_halves_hold_the_training_too_and_fall_back() -> None:
    groups = np.repeat(np.arange(24), 5)
    rng = np.random.default_rng(1)
    factor = rng.integers(0, 3, 24)[groups]
    features = np.eye(3)[factor] + rng.normal(size=(120, 3))
    (plain,), (found,) = probe(features, {"f": factor}, groups), probe_halves(features, {"f": factor}, groups)
    assert found.selectivity().value == plain.selectivity().value
    assert found.halves is not None and len(found.halves) == HALVINGS
    few = groups < 8
    (small,) = probe_halves(features[few], {"f": factor[few]}, groups[few])
    assert small.halves is None, "eight identities give no two halves of five"
