"""Maps from recordings whose attention was built by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dynaip_analysis import attention
from dynaip_analysis.named import Named
from dynaip_analysis.recorder import Recording

GRID = (2, 2)


def recording() -> Recording:
    """Image queries (2 x 3) look at the patch of their own column; three words look at the last patch."""
    image = np.zeros((1, 2, 1, 1, 6, 4), np.float32)
    for query in range(6):
        image[..., query, query % 3 % 4] = 1
    text = np.zeros((1, 2, 1, 1, 3, 4), np.float32)
    text[..., 3] = 1
    outer = {"block": [0], "step": [0.25, 0.75], "sample": [0], "reference": [0]}
    found = Recording(grid=(2, 3))
    for branch, values in (("image", image), ("text", text)):
        queries = list(range(values.shape[4]))
        found.attention[branch] = Named(values, {**outer, "query": queries, "key": [0, 1, 2, 3]})
        found.entropy[branch] = Named(
            np.zeros((1, 2, 1, 1, 2, len(queries))), {**outer, "head": [0, 1], "query": queries}
        )
        share = np.tile(np.linspace(0.1, 0.6, len(queries)), (1, 2, 1, 1, 1))
        found.share[branch] = Named(share, {**outer, "query": queries})
        found.weight[branch] = Named(np.ones((1, 2)), {"block": [0], "step": [0.25, 0.75]})
    return found


def test_maps_follow_the_planted_attention() -> None:
    found = attention.maps(recording(), GRID)
    np.testing.assert_allclose(found.looked_at["text"], [[0, 0], [0, 4]])
    np.testing.assert_allclose(found.looked_at["image"], [[4 / 3, 4 / 3], [4 / 3, 0]])
    np.testing.assert_allclose(found.by_query["image"][4], [[0, 4], [0, 0]])


def test_padding_words_are_left_out() -> None:
    assert attention.maps(recording(), GRID, words=2).share["text"].shape == (2,)


@pytest.mark.parametrize(
    ("tokens", "wanted"), [(4, [1, 1, 1, 1]), (5, [1, 1, 1, 1]), (8, [2, 2, 2, 2]), (10, [2, 2, 2, 2])]
)
def test_tokens_on_patches(tokens: int, wanted: list[int]) -> None:
    found = attention.on_patches(np.ones((3, tokens)), GRID)
    assert found is not None
    assert found.shape == (3, 2, 2)
    assert found[0].ravel().tolist() == wanted


def test_tokens_without_a_place() -> None:
    assert attention.on_patches(np.ones((3, 7)), GRID) is None


def test_measures() -> None:
    rows = attention.measures(recording())
    assert len(rows) == 4
    assert rows[0]["branch"] == "image"
    assert rows[0]["share"] == pytest.approx(0.35)
    assert rows[0]["effective_tokens"] == pytest.approx(1)


def test_query_points_start_at_the_largest_share_and_spread() -> None:
    share = np.zeros((4, 4))
    share[3, 0] = 1
    points = attention.query_points(share)
    assert points[0] == (3, 0)
    assert points[1] == (0, 3)
    assert len(set(points)) == 3


def test_figures_and_their_tables(tmp_path: Path) -> None:
    picture = Image.new("RGB", (30, 20), "teal")
    path = attention.draw(tmp_path / "a.png", picture, picture, attention.maps(recording(), GRID), ["a", "red", "mug"])
    assert path.stat().st_size > 5000
    assert len(pq.read_table(path.with_suffix(".parquet"))) == 4 + 4 + 6 + 3
    path = attention.draw_blocks(tmp_path / "b.png", recording())
    assert path.stat().st_size > 5000
    assert len(pq.read_table(path.with_suffix(".parquet"))) == 4
