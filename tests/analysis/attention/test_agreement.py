"""Agreement with masks: against scikit-learn, against counting by hand, and a planted mask that is recovered."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dynaip.reading import read_rows
from dynaip_analysis.attention import agreement
from dynaip_analysis.drawing import canvas

GRID = (6, 8)


def blob(seed: int) -> np.ndarray:
    """A box somewhere, as a mask of pixels, eight a patch."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((GRID[0] * 8, GRID[1] * 8))
    top, left = int(rng.integers(GRID[0] - 1)) * 8, int(rng.integers(GRID[1] - 1)) * 8
    mask[top : top + 16, left : left + 16] = 1
    return mask


def on_grid(mask: np.ndarray) -> np.ndarray:
    return mask.reshape(GRID[0], 8, GRID[1], 8).mean((1, 3))


@pytest.mark.parametrize("ties", [False, True])
def test_average_precision_by_its_definition(ties: bool) -> None:
    """Precision at every distinct score, weighed by the recall that it adds; patches that were never seen do not count."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        scores, mask = rng.random(GRID), (rng.random(GRID) > 0.7).astype(float)
        scores = scores.round(1) if ties else scores
        mask[0, 0] = 1
        wanted, before = 0.0, 0.0
        for least in sorted(set(scores.ravel()), reverse=True):
            chosen = scores >= least
            recall = float(mask[chosen].sum() / mask.sum())
            wanted, before = wanted + float(mask[chosen].mean()) * (recall - before), recall
        hidden = np.concatenate([scores, np.full((1, GRID[1]), np.nan)])
        below = np.concatenate([mask, np.ones((1, GRID[1]))])
        assert agreement.average_precision(hidden, below) == pytest.approx(wanted)
        assert agreement.average_precision(scores, mask) == pytest.approx(wanted)
    assert np.isnan(agreement.average_precision(scores, np.zeros(GRID)))


def test_energy_and_pointing_by_hand() -> None:
    scores, mask = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.0, 0.5], [0.0, 0.0]])
    assert agreement.energy_inside(scores, mask) == pytest.approx(2 / 10)
    assert agreement.pointing_game(scores, mask) == 0
    assert agreement.pointing_game(scores, 1 - mask) == 1
    assert agreement.centre_prior((3, 3)).argmax() == 4


def test_attention_that_follows_a_planted_mask_is_told_from_attention_that_does_not(tmp_path: Path) -> None:
    masks = [blob(seed) for seed in range(16)]
    rng = np.random.default_rng(1)
    maps = [{"image": on_grid(mask) + 0.3 * rng.random(GRID), "text": rng.random(GRID)} for mask in masks]
    rows = agreement.agreement(maps, masks, [f"case {k}" for k in range(16)])
    found = canvas.estimates(rows, "map")
    assert found["image branch"]["average_precision"].value == pytest.approx(1)
    assert found["image branch"]["pointing_game"].value == 1
    assert found["image branch"]["energy_inside"].low > found["text branch"]["energy_inside"].high
    for name in ("centre prior", "shuffled reference, image", "shuffled reference, text", "text branch"):
        assert found[name]["average_precision"].high < 0.7
    for metric, luck in found["chance"].items():
        # Both are means over 16 cases; the pointing game is 0 or 1 in each.
        spread = 0.25 if metric == "pointing_game" else 0.05
        assert found["text branch"][metric].value == pytest.approx(luck.value, abs=spread)
    said = agreement.headline(rows)
    assert "the image branch (1.00) beats it" in said
    assert "In average precision" in said
    assert "the text branch" in said and "the text branch (1" not in said
    assert "beats" not in said.partition("the text branch")[2]
    path = agreement.draw(tmp_path / "agreement.png", rows)
    table = read_rows(path.with_suffix(".parquet"))
    assert {row["metric"] for row in table} == {"average_precision", "energy_inside", "pointing_game"}
    assert all(row["low"] <= row["value"] <= row["high"] for row in table)
    assert "chance" not in {row["map"] for row in table}
    drawn = {row["metric"]: row["chance"] for row in table}
    assert drawn == {metric: found["chance"][metric].value for metric in drawn}


@pytest.mark.parametrize(("total", "inside"), [((8, 8), 12), ((3, 3), 1), ((4, 4), 16)])
def test_chance_is_the_mean_over_random_maps(total: tuple[int, int], inside: int) -> None:
    """On few patches a random order has an average precision well above the subject's share."""
    rng, mask = np.random.default_rng(0), np.zeros(total)
    mask.flat[:inside] = 1
    drawn = [rng.random(total) for _ in range(2000)]
    for metric, value in agreement.chance(mask).items():
        mean = np.mean([agreement.MEASURES[metric](each, mask) for each in drawn])
        assert value == pytest.approx(mean, abs=0.03)
    assert np.isnan(agreement.chance(np.zeros(total))["average_precision"])


def test_few_cases_beat_nothing() -> None:
    masks = [blob(seed) for seed in range(4)]
    maps = [{"image": on_grid(mask)} for mask in masks]
    said = agreement.headline(agreement.agreement(maps, masks, list("abcd")))
    assert "the image branch (1.00) is not told apart from it" in said


def test_references_of_one_case_are_no_shuffle_and_are_drawn_together() -> None:
    """Two references a case: the shuffled map is of another case, and a case counts once in the interval."""
    masks = [blob(seed) for seed in range(12)]
    maps = [{"image": on_grid(mask)} for mask in masks]
    cases, places = [f"case {k // 2}" for k in range(12)], [k % 2 for k in range(12)]
    rows = agreement.agreement(maps, masks, cases, places)
    shuffled = [row for row in rows if row["map"].startswith("shuffled")]
    for k, row in enumerate(shuffled):
        other = on_grid(masks[2 * (k // 2 + 1) % 12])
        assert row["average_precision"] == agreement.average_precision(other, on_grid(masks[k]))
    found = canvas.estimates(agreement._by_case(rows), "map")["shuffled reference, image"]["average_precision"]
    assert found.cases == 6
    assert found.value == pytest.approx(np.mean([row["average_precision"] for row in shuffled]))
    alone = agreement.agreement(maps[:2], masks[:2], ["a", "a"])
    assert not any(row["map"].startswith("shuffled") for row in alone)
