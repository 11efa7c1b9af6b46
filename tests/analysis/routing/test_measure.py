"""Routers whose mutual information is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from scipy.stats import t

from dynaip_analysis.routing import figures, measure

GRID = (2, 4)
LEVELS = ("low", "mid", "high")


def planted_by_place(images: int = 6) -> np.ndarray:
    """Left half of the patches routed to low, right half to high."""
    choice = np.array([[0, 0, 2, 2], [0, 0, 2, 2]]).ravel()
    return np.tile(np.eye(3)[choice], (images, 1, 1))


def test_routing_by_place() -> None:
    found = measure.summarise(planted_by_place())
    assert found.mutual_information == pytest.approx(np.log(2))
    assert found.within_images == pytest.approx(np.log(2))
    assert found.between_images == pytest.approx(0)
    assert found.mean == pytest.approx([0.5, 0, 0.5])
    assert found.load == pytest.approx([0.5, 0, 0.5])


def test_routing_by_image() -> None:
    weights = np.repeat(np.eye(3)[[0, 1, 2, 0, 1, 2]][:, None], 8, axis=1)
    found = measure.summarise(weights)
    assert found.mutual_information == pytest.approx(np.log(3))
    assert found.between_images == pytest.approx(np.log(3))
    assert found.within_images == pytest.approx(0)


def test_a_router_that_ignores_its_input() -> None:
    found = measure.summarise(np.tile([0.2, 0.3, 0.5], (4, 8, 1)))
    assert found.mutual_information == pytest.approx(0, abs=1e-12)
    assert found.mean_entropy == pytest.approx(-(0.2 * np.log(0.2) + 0.3 * np.log(0.3) + 0.5 * np.log(0.5)))


def test_a_router_per_image_has_no_place() -> None:
    found = measure.summarise(np.array([[1.0, 0, 0], [0, 1.0, 0]]))
    assert found.mutual_information == pytest.approx(np.log(2))
    assert found.within_images == pytest.approx(0)


def test_patches_without_the_class_token() -> None:
    weights = np.random.default_rng(0).dirichlet(np.ones(3), size=(2, 9))
    np.testing.assert_array_equal(measure.patches(weights, GRID), weights[:, 1:])
    np.testing.assert_array_equal(measure.patches(weights[:, 1:], GRID), weights[:, 1:])


def test_figures_and_their_tables(tmp_path: Path) -> None:
    weights = planted_by_place(2)
    images = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    path = figures.draw(tmp_path / "routing.png", images, weights, LEVELS, GRID)
    table = pq.read_table(path.with_suffix(".parquet")).to_pylist()
    assert path.stat().st_size > 2000
    assert len(table) == 2 * 8 * 3
    assert {"image": 1, "row": 0, "column": 3, "level": "high", "weight": 1.0, "mean_of_all": 0.5} in table
    path = figures.draw_summary(tmp_path / "summary.png", {"a": measure.summarise(weights)}, {"a": LEVELS})
    assert pq.read_table(path.with_suffix(".parquet")).to_pylist()[0]["mutual_information"] == pytest.approx(np.log(2))


def test_intervals_over_images() -> None:
    """Images that are routed alike leave no doubt; two kinds of images leave that of a coin thrown once an image."""
    alike = measure.summarise(planted_by_place(50))
    assert alike.low == pytest.approx(alike.mean)
    assert alike.high == pytest.approx(alike.mean)
    assert (alike.information_low, alike.information_high) == pytest.approx((np.log(2), np.log(2)))
    kinds = measure.summarise(np.repeat(np.eye(3)[[0, 2] * 50][:, None], 8, axis=1))
    coin = 1.96 * 0.5 / np.sqrt(100)
    assert kinds.low[[0, 2]] == pytest.approx([0.5 - coin] * 2, abs=0.02)
    assert kinds.high[[0, 2]] == pytest.approx([0.5 + coin] * 2, abs=0.02)


def test_images_of_one_identity_are_drawn_again_together() -> None:
    """Two kinds of identities, each seen ten times: the doubt is that of ten coins, not of a hundred."""
    weights = np.repeat(np.eye(3)[[0, 2] * 5][:, None], 8, axis=1).repeat(10, axis=0)
    found = measure.summarise(weights, np.repeat(np.arange(10), 10))
    coin = t.ppf(0.975, 9) * 0.5 / np.sqrt(9)
    assert found.low[0] == pytest.approx(0.5 - coin, abs=0.06)
    assert found.high[0] == pytest.approx(0.5 + coin, abs=0.06)


def test_a_tie_loads_all_that_share_it() -> None:
    found = measure.summarise(np.full((2, 4, 3), 1 / 3))
    assert found.load == pytest.approx([1 / 3] * 3)


def test_adapters_with_other_levels_stand_beside_each_other(tmp_path: Path) -> None:
    summaries = {
        "three": measure.summarise(planted_by_place(2)),
        "two": measure.summarise(np.full((2, 4, 2), 0.5)),
        "one": measure.summarise(np.ones((2, 4, 1))),
    }
    levels = {"three": LEVELS, "two": ("low", "high"), "one": ("high",)}
    path = figures.draw_summary(tmp_path / "summary.png", summaries, levels)
    rows = pq.read_table(path.with_suffix(".parquet")).to_pylist()
    assert [(row["adapter"], row["level"], row["mean"]) for row in rows] == [
        ("three", "low", 0.5), ("three", "mid", 0.0), ("three", "high", 0.5),
        ("two", "low", 0.5), ("two", "high", 0.5), ("one", "high", 1.0),
    ]  # fmt: skip


def test_one_image_has_no_interval(tmp_path: Path) -> None:
    found = measure.summarise(planted_by_place(1))
    assert np.isnan([*found.low, found.information_high]).all()
    path = figures.draw_summary(tmp_path / "summary.png", {"a": found}, {"a": LEVELS})
    assert pq.read_table(path.with_suffix(".parquet")).to_pylist()[0]["mean"] == 0.5


def test_titles_of_summaries() -> None:
    alone = measure.summarise(np.ones((3, 8, 1)))
    assert figures._told("a", alone, ["high"]) == "a: high is the only level"
    by_image = measure.summarise(np.eye(2)[[0, 1, 1]])
    assert figures._told("b", by_image, ["low", "high"]) == "b: high leads with 0.67; the image tells 0.64 of 0.69 nats"
