"""Maps from recordings whose attention was built by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dynaip_analysis.attention import figures, measure, places
from dynaip_analysis.recording.maps import Branches, Map, on_patches
from dynaip_analysis.recording.named import Named
from dynaip_analysis.recording.recorder import Recording

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


def joint() -> Recording:
    """Every place looks at itself and, with a fifth of its attention, at the last word; the others look at none."""
    found = recording()
    lattice = list(places.lattice())
    outer = {"block": [0], "step": [0.25, 0.75], "sample": [0]}
    image, text = np.zeros((1, 2, 1, len(lattice), 6), np.float32), np.zeros((1, 2, 1, len(lattice), 3), np.float32)
    for k, (x, y) in enumerate(places.lattice().values()):
        image[..., k, min(int(y * 2), 1) * 3 + min(int(x * 3), 2)] = 0.8
        text[..., k, 2] = 0.2
    grids = {"key": (2, 3)}
    found.rows = Branches(
        image=Map(image, {**outer, "query": lattice, "key": range(6)}, grids=grids),
        text=Map(text, {**outer, "query": lattice, "key": range(3)}),
    )
    column = np.arange(6, dtype=np.float32).reshape(1, 1, 1, 1, 6).repeat(2, 1)
    found.columns = Branches(image=Map(column, {**outer, "key": ["mug"], "query": range(6)}, grids={"query": (2, 3)}))
    found.words = [["a", "red", "mug"]]
    return found


def test_places_side_by_side() -> None:
    """Directly, through words, in the image, and back: each view is where the plant says."""
    maps = measure.maps(joint(), GRID)
    views = places.views(joint(), maps)
    assert views[0].token == (1, 2), "the largest term"
    for view in views:
        own = np.zeros((2, 3))
        own[view.token] = 6
        np.testing.assert_allclose(view.joint, own)
        np.testing.assert_allclose(view.text, [[0, 0], [0, 4]])
        assert view.onto_words == pytest.approx(0.2)
        assert view.patch == (view.token[1] // 2, view.token[1] % 2)
        back = np.zeros((2, 3))
        back[:, view.token[1]] = 3
        np.testing.assert_allclose(view.back, back)


def test_words_in_both_attentions() -> None:
    word = measure.maps(joint(), GRID).words["mug"]
    np.testing.assert_allclose(word.reference, [[0, 0], [0, 4]])
    np.testing.assert_allclose(word.image, np.arange(6).reshape(2, 3) / 2.5)


def test_blocks_count_by_the_share_of_the_term() -> None:
    """Two steps look at different patches, the second with three times the term."""
    values = np.zeros((1, 2, 1, 2))
    values[0, 0, 0, 0] = values[0, 1, 0, 1] = 1
    axes = {"block": [0], "step": [0, 1], "query": [0], "key": [0, 1]}
    share = Named(np.array([[[0.1], [0.3]]]), {"block": [0], "step": [0, 1], "query": [0]})
    np.testing.assert_allclose(measure.weighed_mean(Named(values, axes), share), [[0.25, 0.75]])


def test_maps_follow_the_planted_attention() -> None:
    found = measure.maps(recording(), GRID)
    np.testing.assert_allclose(found.looked_at["text"], [[0, 0], [0, 4]])
    sizes = np.linspace(0.1, 0.6, 6)
    wanted = [sizes[[0, 3]].sum(), sizes[[1, 4]].sum(), sizes[[2, 5]].sum(), 0]
    np.testing.assert_allclose(found.looked_at["image"].ravel(), 4 * np.array(wanted) / sizes.sum(), rtol=1e-6)
    np.testing.assert_allclose(found.by_query["image"][4], [[0, 4], [0, 0]])


def test_padding_words_are_left_out() -> None:
    assert measure.maps(recording(), GRID, words=2).share["text"].shape == (2,)


@pytest.mark.parametrize(
    ("tokens", "wanted"), [(4, [1, 1, 1, 1]), (5, [1, 1, 1, 1]), (8, [2, 2, 2, 2]), (10, [2, 2, 2, 2])]
)
def test_tokens_on_patches(tokens: int, wanted: list[int]) -> None:
    found = on_patches(np.ones((3, tokens)), GRID)
    assert found is not None
    assert found.shape == (3, 2, 2)
    assert found[0].ravel().tolist() == wanted


def test_tokens_without_a_place() -> None:
    assert on_patches(np.ones((3, 7)), GRID) is None


def test_measures() -> None:
    rows = measure.measures(recording())
    assert len(rows) == 4
    assert rows[0]["branch"] == "image"
    assert rows[0]["share"] == pytest.approx(0.35)
    assert rows[0]["effective_tokens"] == pytest.approx(1)
    assert rows[0]["entropy"] == pytest.approx(0)
    assert rows[0]["effective_low"] == pytest.approx(1)
    assert rows[0]["tokens"] == 4


def test_measures_leave_the_padding_of_prompts_out() -> None:
    """The text branch has three queries with shares 0.1, 0.35 and 0.6: with two words the third is padding."""
    found = recording()
    assert [row["share"] for row in measure.measures(found) if row["branch"] == "text"] == pytest.approx([0.35] * 2)
    found.words = [["a", "mug"]]
    rows = measure.measures(found)
    assert [row["share"] for row in rows if row["branch"] == "text"] == pytest.approx([0.225] * 2)
    assert [row["share"] for row in rows if row["branch"] == "image"] == pytest.approx([0.35] * 2)


def test_query_points_start_at_the_largest_share_and_spread() -> None:
    share = np.zeros((4, 4))
    share[3, 0] = 1
    points = measure.query_points(share)
    assert points[0] == (3, 0)
    assert points[1] == (0, 3)
    assert len(set(points)) == 3
    share[:, 1:] = np.nan
    assert measure.query_points(share)[:2] == [(3, 0), (0, 0)]
    assert all(column == 0 for _, column in measure.query_points(share))
    assert measure.query_points(np.full((2, 2), np.nan)) == []


def test_places_outside_a_region_are_left_out(tmp_path: Path) -> None:
    """The reference's region is the last column: places elsewhere saw nothing of it, and draw no empty map."""
    found = joint()
    outside = [0, 1, 3, 4]
    for part, place in ((found.attention, (..., outside, slice(None))), (found.share, (..., outside))):
        values = part["image"].values.copy()
        values[place] = np.nan
        part["image"] = Named(values, part["image"].axes)
    views = places.views(found, measure.maps(found, GRID))
    assert [view.token for view in views] == [(1, 2), (0, 2)]
    assert all(view.image is not None and np.isfinite(view.image).all() for view in views)
    picture = Image.new("RGB", (30, 20), "teal")
    assert places.draw(tmp_path / "p.png", picture, picture, views).is_file()
    found.share["image"] = Named(np.full((1, 2, 1, 1, 6), np.nan), found.share["image"].axes)
    assert places.views(found, measure.maps(found, GRID)) == []


def test_long_prompts_show_the_largest_words_in_order() -> None:
    from matplotlib.figure import Figure

    share = np.linspace(1, 2, 40)
    share[3] = 9
    found = measure.BranchMaps({"text": share}, {}, {}, (1, 1))
    axes = Figure().subplots()
    figures._words(axes, found, [f"word{k}withmanyletters" for k in range(40)])
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert len(labels) == figures.BARS
    assert labels[0] == "word3with…"
    assert labels[1:] == [f"word{k}wit…" for k in range(27, 40)]
    assert "14 of 40 words" in axes.get_title()


def test_figures_and_their_tables(tmp_path: Path) -> None:
    picture = Image.new("RGB", (30, 20), "teal")
    maps = measure.maps(joint(), GRID)
    path = figures.draw(tmp_path / "a.png", picture, picture, maps, ["a", "red", "mug"])
    assert path.stat().st_size > 5000
    assert len(pq.read_table(path.with_suffix(".parquet"))) == 4 + 4 + 6 + 3 + 4 + 6
    path = places.draw(tmp_path / "p.png", picture, picture, places.views(joint(), maps))
    assert path.stat().st_size > 5000
    assert len(pq.read_table(path.with_suffix(".parquet"))) == 3 * (4 + 4 + 6 + 6)
    path = figures.draw_spread(tmp_path / "s.png", measure.measures(recording()))
    assert len(pq.read_table(path.with_suffix(".parquet"))) == 4
    path = figures.draw_blocks(tmp_path / "b.png", measure.measures(recording()))
    assert path.stat().st_size > 5000
    assert len(pq.read_table(path.with_suffix(".parquet"))) == 4
