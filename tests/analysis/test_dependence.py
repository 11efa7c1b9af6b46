"""Routers whose dependence on place, class and prompt is known."""

from __future__ import annotations

import numpy as np
import pytest

from dynaip_analysis.dependence import class_dependence, dead, dependences, place_dependence, prompt_information

RNG = np.random.default_rng(0)


def test_a_router_by_class() -> None:
    labels = np.repeat([0, 1, 2], 8)
    weights = np.repeat(np.eye(3)[labels][:, None], 4, axis=1)
    found = class_dependence(weights, labels, shuffles=99)
    assert found.information == pytest.approx(np.log(3))
    assert found.p == 0.01
    assert found.chance < found.limit < 0.5 * np.log(3)


def test_a_soft_router_by_class_has_the_information_of_its_channel() -> None:
    """A binary symmetric channel: I = log 2 - H(0.2)."""
    labels = np.repeat([0, 1], 20)
    weights = np.where(labels[:, None] == [0, 1], 0.8, 0.2)
    expected = np.log(2) + 0.8 * np.log(0.8) + 0.2 * np.log(0.2)
    assert class_dependence(weights, labels, shuffles=9).information == pytest.approx(expected)


def test_classes_of_unequal_size_count_by_their_share() -> None:
    labels = np.array([0, 0, 0, 1])
    weights = np.eye(2)[labels]
    expected = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    assert class_dependence(weights, labels, shuffles=9).information == pytest.approx(expected)


def test_noise_is_within_chance() -> None:
    """Weights that have nothing to do with the labels reach the 95 % limit in about one case of twenty."""
    hits = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        found = class_dependence(
            rng.dirichlet(np.ones(3), size=(24, 4)), rng.integers(0, 4, 24), shuffles=60, seed=seed
        )
        hits += found.information > found.limit
    assert hits <= 4


def test_all_at_once() -> None:
    labels = np.repeat([0, 1], 6)
    by_place = np.tile(np.eye(2)[[0, 0, 1, 1]], (12, 1, 1))
    found = dependences(by_place, {"category": labels}, shuffles=99)
    assert found["place of the patch"].information == pytest.approx(np.log(2))
    assert found["place of the patch"].p == 0.01
    assert found["category"].information == pytest.approx(0)
    assert list(dependences(by_place.mean(axis=1), {"category": labels}, shuffles=9)) == ["category"]
    assert place_dependence(by_place, shuffles=9).row()["information"] == pytest.approx(np.log(2))


def test_place_against_chance() -> None:
    planted = place_dependence(np.tile(np.eye(3)[[0, 0, 2, 2, 0, 0, 2, 2]], (6, 1, 1)), shuffles=99)
    assert planted.information == pytest.approx(np.log(2))
    assert planted.p == 0.01
    assert planted.chance < 0.3
    noise = np.random.default_rng(0).dirichlet(np.ones(3), size=(6, 8))
    assert place_dependence(noise, shuffles=99).p > 0.05


def test_prompts() -> None:
    blind = np.repeat(RNG.dirichlet(np.ones(3), size=(5, 4))[None], 3, axis=0)
    assert prompt_information(blind) == pytest.approx(0, abs=1e-12)
    ruled = np.broadcast_to(np.eye(3)[:, None, None], (3, 5, 4, 3))
    assert prompt_information(ruled) == pytest.approx(np.log(3))


def test_dead_experts() -> None:
    mean, load = np.array([0.6, 0.39, 0.01, 0.0]), np.array([0.7, 0.29, 0.01, 0.0])
    np.testing.assert_array_equal(dead(mean, load), [False, False, False, True])
    assert not dead(np.array([0.5, 0.3, 0.2]), np.array([1.0, 0, 0])).any(), (
        "soft weights may use what no token prefers"
    )
