"""Maps: words, regions and points by hand, means over what was seen, drawings that need no model."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from dynaip.errors import InputError
from dynaip_analysis.recording.maps import Branches, Map, on_patches, region_on


def attention(keys: int = 4) -> Map:
    """Two blocks, two steps, four text queries ("a", "cor", "gi", "mug") on a reference of 2 x 2 patches."""
    values = np.random.default_rng(0).random((2, 2, 4, keys))
    axes = {"block": [0, 1], "step": [0.25, 0.75], "query": [0, 1, 2, 3], "key": list(range(keys))}
    return Map(values, axes, grids={"key": (2, 2)}, words=[["a", "cor", "gi", "mug"]])


def test_words_of_several_tokens() -> None:
    found = attention()
    np.testing.assert_allclose(found.word("corgi").values, found.values[:, :, 1:3].mean(2))
    np.testing.assert_allclose(found.word("Mug").values, found.values[:, :, 3])
    keys = Map(found.values, found.axes, words=found.words)
    np.testing.assert_allclose(keys.word("corgi", axis="key").values, found.values[..., 1:3].sum(-1))
    assert "key" not in keys.word("corgi", axis="key").axes
    with pytest.raises(InputError, match="no 'fish' among the text tokens a cor gi mug"):
        found.word("fish")
    with pytest.raises(InputError, match=r"not known; give them, record\(..., prompts"):
        Map(found.values, found.axes).word("mug")
    with pytest.raises(InputError, match="there is no sample 1; 1 prompts were named"):
        found.word("mug", sample=1)


def test_places_of_a_picture_and_names_are_no_words() -> None:
    found = attention()
    with pytest.raises(InputError, match="axis 'key' of this map holds no text tokens"):
        found.word("mug", axis="key")
    named = Map(found.values, {**found.axes, "query": ["mug", "cat", "left", "middle"]}, words=found.words)
    with pytest.raises(InputError, match="axis 'query' of this map holds no text tokens"):
        named.word("mug")


def of_prompts() -> Map:
    """Two samples whose prompts have the mug at other places; the second alone has a star."""
    values = np.random.default_rng(1).random((2, 2, 4, 3))
    axes = {"block": [0, 1], "sample": [0, 1], "query": [0, 1, 2, 3], "key": [0, 1, 2]}
    return Map(values, axes, words=[["a", "mug", "mug", "</s>"], ["star", "and", "a", "mug"]])


def test_every_sample_has_the_words_of_its_own_prompt() -> None:
    found = of_prompts()
    mug = np.stack([found.values[:, 0, 1:3].mean(1), found.values[:, 1, 3]], axis=1)
    np.testing.assert_allclose(found.word("mug").values, mug)
    np.testing.assert_allclose(found.word("mug", sample=1).values, mug[:, 1])
    np.testing.assert_allclose(found.sel(sample=1).word("mug").values, mug[:, 1])
    np.testing.assert_allclose(found.sel(sample=[1]).word("mug").values, mug[:, 1:])
    star = found.word("star").values
    assert np.isnan(star[:, 0]).all(), "the first prompt has no star"
    np.testing.assert_allclose(star[:, 1], found.values[:, 1, 0])
    with pytest.raises(InputError, match="no 'star' among the text tokens a mug mug"):
        found.sel(sample=0).word("star")
    with pytest.raises(InputError, match="choose a sample before"):
        found.mean("sample").word("mug")


def test_tokens_that_were_chosen_before_keep_their_places() -> None:
    found = of_prompts().sel(sample=1)
    np.testing.assert_allclose(found.sel(query=[3, 0]).word("mug").values, found.values[:, 3])
    assert np.isnan(found.sel(query=[0]).word("mug").values).all()
    image = Map(attention().values, attention().axes, grids={"query": (2, 2)})
    for lost in (
        lambda: image.sel(query=[0, 1]).region((0, 0, 1, 1), axis="query"),
        lambda: image.sel(query=[0]).point(0, 0),
    ):
        with pytest.raises(InputError, match="holds some tokens alone"):
            lost()


def test_queries_that_were_never_seen_count_nothing() -> None:
    values = attention().values.copy()
    values[:, :, 1] = np.nan
    image = Map(values, attention().axes, grids={"query": (2, 2)})
    np.testing.assert_allclose(image.region((0.0, 0.0, 1.0, 0.5), axis="query").values, values[:, :, 0])
    assert np.isnan(image.region((0.5, 0.0, 1.0, 0.5), axis="query").values).all()


def test_regions_of_the_reference_and_points_of_the_image() -> None:
    found = attention()
    np.testing.assert_allclose(found.region((0.0, 0.0, 0.5, 1.0)).values, found.values[..., [0, 2]].sum(-1))
    mask = np.array([[0, 0], [0, 1]], np.uint8)
    np.testing.assert_allclose(found.region(mask).values, found.values[..., 3])
    with_class = attention(5)
    np.testing.assert_allclose(with_class.region((0.0, 0.0, 1.0, 0.5)).values, with_class.values[..., [1, 2]].sum(-1))
    image = Map(found.values, found.axes, grids={"query": (2, 2)})
    np.testing.assert_allclose(image.point(0.9, 0.1).values, found.values[:, :, 1])
    np.testing.assert_allclose(image.region((0.0, 0.5, 1.0, 1.0), axis="query").values, found.values[:, :, 2:].mean(2))
    for place in ((-0.1, 0.5), (0.5, 1.01)):
        with pytest.raises(InputError, match="lies outside the picture"):
            image.point(*place)
    with pytest.raises(InputError, match="tokens of axis 'query' have no place on a picture"):
        found.region((0, 0, 1, 1), axis="query")


def test_what_was_chosen_stays_a_map() -> None:
    found = attention().sel(block=1).mean("step")
    assert isinstance(found, Map)
    np.testing.assert_allclose(found.spatial(), attention().values[1].mean((0, 1)).reshape(2, 2))
    alone = found.word("mug")
    assert list(alone.axes) == ["key"]
    np.testing.assert_allclose(alone.spatial(), attention().values[1].mean(0)[3].reshape(2, 2))


@pytest.mark.parametrize(
    ("tokens", "wanted"), [(4, [1, 1, 1, 1]), (5, [1, 1, 1, 1]), (8, [2, 2, 2, 2]), (10, [2, 2, 2, 2])]
)
def test_tokens_on_patches(tokens: int, wanted: list[int]) -> None:
    found = on_patches(np.ones((3, tokens)), (2, 2))
    assert found is not None
    assert found[0].ravel().tolist() == wanted
    assert region_on((0.0, 0.0, 1.0, 1.0), (2, 2), tokens).sum() == 4 * (tokens // 4 if tokens % 5 else tokens // 5)


def test_tokens_without_a_place() -> None:
    assert on_patches(np.ones((3, 7)), (2, 2)) is None
    with pytest.raises(InputError, match="7 tokens do not lie on 2 x 2 patches"):
        attention(7).spatial()
    with pytest.raises(InputError, match="a region means nothing there"):
        region_on((0.0, 0.0, 1.0, 1.0), (2, 2), 7)


def test_branches_choose_like_an_axis() -> None:
    both = Branches(image=attention(), text=attention().sel(block=[0]))
    assert both.sel(branch="text", step=-1).axes["block"] == [0]
    assert set(both.sel(step=0.25)) == {"image", "text"}
    assert list(both.mean("step", "block")["image"].axes) == ["query", "key"]
    with pytest.raises(InputError, match="axis 'branch' has no 'joint'; it has image, text"):
        both.sel(branch="joint")


def test_drawings() -> None:
    picture = Image.new("RGB", (16, 12), "teal")
    figure = attention().grid("step", "block", picture=picture)
    assert [place.get_title(loc="left") for place in figure.axes[:2]] == ["block 0", "block 1"]
    limits = {image.get_clim() for place in figure.axes[:4] for image in place.get_images()[1:]}
    assert len(limits) == 1, "one scale"
    raw = BytesIO()
    figure.savefig(raw, format="png")
    drawn = Image.open(raw)
    assert drawn.width > 100
    edge = np.asarray(drawn.convert("L"))[:, 0]
    assert edge.min() == edge.max(), "no label is cut off at the side"
    page = attention().to_html(picture, caption='what "<script>" looks at')
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert page.count("data:image/png;base64,") == 1
    with pytest.raises(InputError, match="there is no axis 'block'"):
        attention().sel(block=0).grid("step", "block")
    assert attention().sel(block=0, step=0.25, query=0, key=0).to_html().count("a single number") == 1


def test_what_a_notebook_shows() -> None:
    found = attention()
    assert repr(found).startswith("Map(block 2, step 2, query 4, key 4; values from ")
    branches = Branches({"image": found, "text": attention(7)})
    assert repr(branches).startswith("Branches(image: block 2, step 2")
    shown = branches._repr_html_()
    assert shown.count("<img") == 1  # seven tokens have no place on 2 x 2 patches
    assert "text branch" in shown
    assert Branches()._repr_html_() == "<p>no branch was open</p>"
    with pytest.raises(InputError, match="axis 'branch' has no 'joint'; it has image, text"):
        branches["joint"]
    with pytest.raises(InputError, match="there is no axis 'layer'"):
        found.grid("block", "layer")
