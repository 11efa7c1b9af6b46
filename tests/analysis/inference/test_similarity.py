"""CKA against its definition, and neighbours of points whose place is known."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from dynaip_analysis.inference.similarity import (
    cka_matrix,
    nearest,
    nearest_by_chance,
    nearest_shares,
    permuted_cka,
    unbiased_cka,
)


def hsic(k: np.ndarray, l: np.ndarray) -> float:
    """Song et al. 2012, eq. 5, term by term."""
    n, one = len(k), np.ones(len(k))
    k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))
    parts = np.trace(k @ l) + one @ k @ one * (one @ l @ one) / ((n - 1) * (n - 2)) - 2 / (n - 2) * (one @ k @ l @ one)
    return float(parts / (n * (n - 3)))


def test_against_the_definition(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(12, 5)), rng.normal(size=(12, 7))
    y[:, 0] += 2 * x[:, 0]
    k, l = x @ x.T, y @ y.T
    expected = hsic(k, l) / np.sqrt(hsic(k, k) * hsic(l, l))
    assert unbiased_cka(x, y) == pytest.approx(expected)
    np.testing.assert_allclose(cka_matrix({"x": x, "y": y}), [[1, expected], [expected, 1]])


def test_rotation_and_scale_do_not_matter(rng: np.random.Generator) -> None:
    x = rng.normal(size=(30, 6))
    rotation = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    assert unbiased_cka(x, 3 * x @ rotation + 1) == pytest.approx(1)


def test_independent_features_give_nothing_however_wide(rng: np.random.Generator) -> None:
    found = [unbiased_cka(rng.normal(size=(40, 300)), rng.normal(size=(40, 300))) for _ in range(8)]
    assert abs(np.mean(found)) < 0.05
    x = rng.normal(size=(40, 300))
    centred = x - x.mean(axis=0)
    y = rng.normal(size=(40, 300))
    biased = np.linalg.norm(centred.T @ (y - y.mean(axis=0))) ** 2
    biased /= np.linalg.norm(centred.T @ centred) * np.linalg.norm((y - y.mean(axis=0)).T @ (y - y.mean(axis=0)))
    assert biased > 0.7, "the biased estimator would call them alike"


def test_what_chance_gives(rng: np.random.Generator) -> None:
    x = rng.normal(size=(40, 8))
    null = permuted_cka(x, x)
    assert unbiased_cka(x, x) == pytest.approx(1)
    assert abs(null.mean()) < 0.05
    assert np.percentile(null, 95) < 0.3


def test_neighbours() -> None:
    points = np.array([[1.0, 0], [1.1, 0.1], [0, 1], [0.1, 1.1], [-1, -1]])
    labels = np.array([0, 0, 1, 0, 2])
    found = nearest_shares(points, labels)
    np.testing.assert_array_equal(found[:2], [1, 1])
    assert found[3] == 0
    assert np.isnan(found[2])
    assert np.isnan(found[4]), "nobody shares its label"
    assert nearest_by_chance(labels) == pytest.approx(2 / 4)


def test_chance_of_neighbours_is_what_random_features_reach(rng: np.random.Generator) -> None:
    labels = np.repeat(np.arange(10), 4)
    found = [np.nanmean(nearest_shares(rng.normal(size=(40, 5)), labels)) for _ in range(60)]
    assert np.mean(found) == pytest.approx(nearest_by_chance(labels), abs=0.03)


def test_neighbours_as_in_sklearn(rng: np.random.Generator) -> None:
    points, labels = rng.normal(size=(60, 6)), rng.integers(0, 4, 60)
    centred = points - points.mean(axis=0)
    expected = NearestNeighbors(n_neighbors=2, metric="cosine").fit(centred).kneighbors(centred)[1][:, 1]
    np.testing.assert_array_equal(nearest(points), expected)
    np.testing.assert_array_equal(nearest_shares(points, labels), labels[expected] == labels)


def test_categories_are_asked_of_other_instances(rng: np.random.Generator) -> None:
    """Two pictures of each instance, which are each other's nearest; beyond them the categories are mixed."""
    instance = np.repeat(np.arange(20), 2)
    category = np.repeat([0, 1], 20)
    points = rng.normal(size=(20, 8))[instance] + 0.01 * rng.normal(size=(40, 8))
    assert np.mean(nearest_shares(points, category)) == 1
    found = [np.mean(nearest_shares(rng.normal(size=(20, 8))[instance], category, instance)) for _ in range(400)]
    assert np.mean(found) == pytest.approx(nearest_by_chance(category, instance), abs=0.03)
    assert nearest_by_chance(category, instance) == pytest.approx(18 / 38)
    assert np.isnan(nearest_by_chance(instance, instance))
    assert set(nearest(points, np.zeros(40, np.int64))) == {-1}


def test_cases_without_a_label_are_no_neighbours() -> None:
    points = np.array([[1.0, 0], [1.0, 0.01], [1.0, 0.2], [-1, 0], [-1, 0.1]])
    labels = np.array([0, -1, 0, 1, 1])
    np.testing.assert_array_equal(nearest_shares(points, labels), [1, np.nan, 1, 1, 1])
    assert nearest_by_chance(labels) == pytest.approx(1 / 3)
