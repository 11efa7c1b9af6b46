"""References and regions: weights on the grid by hand, and every wrong use as one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dynaip import Reference
from dynaip.adapter.reference import as_samples, normalised
from dynaip.errors import InputError

PICTURE = Image.new("RGB", (8, 8), "red")


def test_box_covers_cells_by_area() -> None:
    weights = Reference(PICTURE, region=(0.25, 0.0, 0.625, 1.0)).weights((2, 4))
    assert weights.view(2, 4).tolist() == [[0, 1, 0.5, 0]] * 2
    assert Reference(PICTURE).weights((2, 4)) is None


@pytest.mark.parametrize("kind", ["array", "uint8", "tensor", "image"])
def test_mask_of_any_kind_and_size(kind: str) -> None:
    values = np.zeros((6, 8), dtype=np.float32)
    values[:3, :4] = 1
    mask: Any = {
        "array": values,
        "uint8": (values * 255).astype(np.uint8),
        "tensor": torch.from_numpy(values)[None],
        "image": Image.fromarray((values * 255).astype(np.uint8)),
    }[kind]
    assert Reference(PICTURE, region=mask).weights((2, 2)).tolist() == [1, 0, 0, 0]
    assert Reference(PICTURE, region=mask).weights((1, 1)).tolist() == [0.25]


def test_overlapping_regions_sum_to_one_at_most() -> None:
    one, two = torch.tensor([1.0, 1.0, 0.25]), torch.tensor([0.0, 1.0, 0.25])
    first, second, whole = normalised([one, two, None])
    assert first.tolist() == [1, 0.5, 0.25]
    assert second.tolist() == [0, 0.5, 0.25]
    assert whole is None
    assert normalised([one, None])[0] is one


WRONG = {
    "outside": ({"region": (0, 0, 1.2, 1)}, "lies outside the image"),
    "negative": ({"region": (-0.1, 0, 1, 1)}, "lies outside the image"),
    "no area": ({"region": (0.5, 0, 0.5, 1)}, "has no area"),
    "turned": ({"region": (0.8, 0, 0.2, 1)}, "left must be < right"),
    "three edges": ({"region": (0, 0, 1)}, "left, top, right, bottom"),
    "nan": ({"region": (0, 0, float("nan"), 1)}, "region"),
    "empty mask": ({"region": np.zeros((4, 4))}, "the mask is empty"),
    "deep mask": ({"region": np.ones((8, 8, 5))}, "height x width"),
    "large values": ({"region": np.full((4, 4), 3.0)}, "within 0 and 1"),
    "words": ({"region": "left"}, "left: there is no such picture"),
    "fit": ({"fit": "padd"}, "must be crop or pad. Did you mean pad"),
    "scale": ({"scale": -1}, "scale -1 must be"),
    "nan scale": ({"scale": float("nan")}, "scale nan must be"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_uses_are_one_line(name: str) -> None:
    options, line = WRONG[name]
    with pytest.raises(InputError, match=line) as caught:
        Reference(PICTURE, **options)
    assert "\n" not in str(caught.value)


def test_pictures_of_any_kind(tmp_path: Path) -> None:
    PICTURE.save(tmp_path / "red.png")
    array = np.zeros((8, 8, 3), dtype=np.float32)
    array[..., 0] = 1
    for image in (
        PICTURE,
        str(tmp_path / "red.png"),
        tmp_path / "red.png",
        array,
        torch.from_numpy(array).permute(2, 0, 1),
    ):
        assert Reference(image).picture().getpixel((3, 3)) == (255, 0, 0)
    with pytest.raises(InputError, match="no such picture"):
        Reference(tmp_path / "blue.png")
    with pytest.raises(InputError, match="reference of type ndarray: has the shape"):
        Reference(np.zeros((8, 8, 5)))


def test_what_is_given_is_read_once(tmp_path: Path) -> None:
    array, mask = np.full((4, 4, 3), 200, np.uint8), np.full((4, 4), 255, np.uint8)
    reference = Reference(array, region=mask)
    array[:], mask[:] = 0, 0
    assert reference.picture().getpixel((0, 0)) == (200, 200, 200)
    assert reference.weights((1, 1)).tolist() == [1]
    Image.fromarray(np.eye(2, dtype=np.uint8) * 255).save(tmp_path / "mask.png")
    assert Reference(PICTURE, region=tmp_path / "mask.png").weights((2, 2)).tolist() == [1, 0, 0, 1]


def test_a_fit_of_the_users_own() -> None:
    tall = Image.new("RGB", (4, 8), "red")
    assert [Reference(tall, fit=fit).picture().size for fit in (None, "crop", "pad")] == [(4, 8), (4, 4), (8, 8)]


def test_samples() -> None:
    one, two = Reference(PICTURE), Reference(PICTURE)
    assert as_samples((one, two), 10) == [[one, two]]
    assert as_samples(([one], [one, two]), 10) == [[one], [one, two]]
    with pytest.raises(InputError, match="not both"):
        as_samples((one, [two]), 10)
    with pytest.raises(InputError, match="prompt 1 has 3 references; the adapter allows 2"):
        as_samples(([one], [one, two, one]), 2)


@pytest.mark.parametrize("scale", [np.float32(0.5), torch.tensor(0.5), np.array(0.5), np.float64(0.5)])
def test_a_scale_may_come_from_numpy_or_torch(scale: Any) -> None:
    assert Reference(Image.new("RGB", (8, 8)), scale=scale).scale == 0.5


@pytest.mark.parametrize("scale", [True, "0.5", None, 1e30, float("nan"), np.float32("inf"), -1, [1.0]])
def test_a_scale_that_is_none_is_one_line(scale: Any) -> None:
    with pytest.raises(InputError, match="must be a number from 0 to 1000"):
        Reference(Image.new("RGB", (8, 8)), scale=scale)


@pytest.mark.parametrize("kind", [np.array, torch.tensor, list, tuple, lambda box: [np.float32(edge) for edge in box]])
def test_a_box_may_be_an_array(kind: Any) -> None:
    given = Reference(Image.new("RGB", (8, 8)), region=kind((0.0, 0.0, 0.5, 1.0)))
    assert given.region == (0.0, 0.0, 0.5, 1.0)
    assert given.weights((2, 4)).tolist() == [1, 1, 0, 0] * 2


@pytest.mark.parametrize("box", [np.zeros(3), torch.zeros(5), [0, 0, 1, None], [0, 0, 1, True], np.array([0, 0, 2, 1])])
def test_a_box_that_is_none_is_one_line(box: Any) -> None:
    with pytest.raises(InputError, match="region") as caught:
        Reference(Image.new("RGB", (8, 8)), region=box)
    assert "\n" not in str(caught.value)
