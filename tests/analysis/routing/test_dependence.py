"""Routers whose dependence on place, class and prompt is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from dynaip_analysis.routing.dependence import (
    Dependence,
    class_dependence,
    dead,
    dealt_anew,
    dependences,
    place_dependence,
    prompt_information,
)


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
    found = dependences(by_place, {"category": labels}, (2, 2), shuffles=99)
    assert found["patch position"].information == pytest.approx(np.log(2))
    assert found["patch position"].p == 0.01
    assert found["category"].information == pytest.approx(0)
    assert list(dependences(by_place.mean(axis=1), {"category": labels}, (2, 2), shuffles=9)) == ["category"]
    assert place_dependence(by_place, (2, 2), shuffles=9).row()["information"] == pytest.approx(np.log(2))


def test_place_against_chance() -> None:
    planted = place_dependence(np.tile(np.eye(3)[[0, 0, 2, 2, 0, 0, 2, 2]], (6, 1, 1)), (2, 4), shuffles=99)
    assert planted.information == pytest.approx(np.log(2))
    assert planted.p == 0.01
    assert planted.chance < 0.3
    noise = np.random.default_rng(0).dirichlet(np.ones(3), size=(6, 8))
    assert place_dependence(noise, (2, 4), shuffles=99).p > 0.05


def softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits)
    return raised / raised.sum(axis=-1, keepdims=True)


def false_alarms(one: Callable[[np.random.Generator, int], Dependence], worlds: int = 120) -> float:
    """Share of worlds without any dependence in which the test at 5 % sees one."""
    rng = np.random.default_rng(1)
    return float(np.mean([one(rng, world).p <= 0.05 for world in range(worlds)]))


@pytest.mark.parametrize("kind", ["constant", "mixed"])
def test_images_of_one_identity_are_not_independent(kind: str) -> None:
    """Labels of identities that are looked at six times each: dealing them image by image would alarm in most worlds."""
    groups = np.repeat(np.arange(10), 6)

    def world(rng: np.random.Generator, seed: int) -> Dependence:
        weights = softmax(rng.normal(size=(10, 3))[groups] + 0.3 * rng.normal(size=(60, 3)))
        labels = rng.integers(0, 3, 10)[groups]
        if kind == "mixed":
            labels = np.where(rng.random(60) < 0.7, labels, rng.integers(0, 3, 60))
        return class_dependence(weights, labels, groups, shuffles=39, seed=seed)

    assert false_alarms(world) <= 0.12


def test_smooth_maps_do_not_depend_on_their_place() -> None:
    """Blobs anywhere on a torus: patches dealt one by one would alarm in every fourth world."""

    def world(rng: np.random.Generator, seed: int) -> Dependence:
        smooth = gaussian_filter(rng.normal(size=(20, 6, 6, 3)), (0, 1.2, 1.2, 0), mode="wrap")
        return place_dependence(softmax(6 * smooth).reshape(20, 36, 3), (6, 6), shuffles=39, seed=seed)

    assert false_alarms(world) <= 0.12


def test_labels_are_dealt_by_whole_groups() -> None:
    rng = np.random.default_rng(0)
    groups = np.array([0, 0, 1, 1, 1, 2, 2])
    constant = np.array([5, 5, 6, 6, 6, 7, 7])
    for _ in range(20):
        dealt = dealt_anew(constant, groups, rng)
        assert [len(set(dealt[groups == name])) for name in range(3)] == [1, 1, 1]
        assert sorted(dealt[[0, 2, 5]]) == [5, 6, 7]
    mixed = np.array([0, 1, 2, 3, 4, 8, 9])
    dealt = [dealt_anew(mixed, groups, rng) for _ in range(200)]
    assert all(set(each[2:5]) == {2, 3, 4} for each in dealt), "no other group has three images"
    assert {tuple(sorted(each[:2])) for each in dealt} == {(0, 1), (8, 9)}, "groups of two change places"
    assert len({tuple(each[2:5]) for each in dealt}) == 6, "and images within a group"


def test_images_without_a_label_are_left_out() -> None:
    labels = np.array([0, 0, 1, 1, -1, -1])
    weights = np.eye(2)[[0, 0, 1, 1, 0, 1]]
    assert dependences(weights, {"kind": labels}, (1, 1), shuffles=9)["kind"].information == pytest.approx(np.log(2))


def test_prompts(rng: np.random.Generator) -> None:
    blind = np.repeat(rng.dirichlet(np.ones(3), size=(5, 4))[None], 3, axis=0)
    assert prompt_information(blind).value == pytest.approx(0, abs=1e-12)
    ruled = np.broadcast_to(np.eye(3)[:, None, None], (3, 5, 4, 3))
    assert prompt_information(ruled).value == pytest.approx(np.log(3))


def test_dead_experts() -> None:
    mean, load = np.array([0.6, 0.39, 0.01, 0.0]), np.array([0.7, 0.29, 0.01, 0.0])
    np.testing.assert_array_equal(dead(mean, load), [False, False, False, True])
    assert not dead(np.array([0.5, 0.3, 0.2]), np.array([1.0, 0, 0])).any(), (
        "soft weights may use what no token prefers"
    )
