"""What an encoder does not see of a picture is told; a picture that is squared before loses what its fit says."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from PIL import Image

from dynaip.images.fit import LONGEST, squared, tell_losses
from dynaip.notes import Note

TALL = np.random.default_rng(0).integers(0, 255, (9, 3, 3), dtype=np.uint8)


def test_squares_by_hand() -> None:
    image = Image.fromarray(TALL)
    assert np.array_equal(np.asarray(squared(image, "crop")), TALL[3:6])
    padded = np.asarray(squared(image, "pad"))
    assert padded.shape == (9, 9, 3)
    assert np.array_equal(padded[:, 3:6], TALL)
    assert (padded[:, :3] == 255).all() and (padded[:, 6:] == 255).all()
    assert squared(Image.new("RGB", (5, 5)), "crop").size == (5, 5)
    assert squared(Image.new("RGB", (60_000, 3)), "pad").size == (LONGEST, LONGEST)


def told(size: tuple[int, int], fit: str | None, encoder: int) -> list[str]:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        tell_losses(Image.new("RGB", size), "reference a.png", fit, encoder)
    assert all(one.category is Note for one in found)
    return [str(one.message) for one in found]


def test_a_middle_crop_is_told_beyond_three_to_two() -> None:
    assert told((300, 450), "crop", 64) == []
    (line,) = told((300, 460), "crop", 64)
    assert line.startswith("reference a.png has 300 x 460 pixels, and its middle 300 x 300 alone is seen")
    assert "fit to pad" in line
    assert told((300, 460), "pad", 64) == told((300, 460), None, 64) == []


@pytest.mark.parametrize(("fit", "edge", "times"), [("crop", 20, "16.8"), ("pad", 30, "11.2"), (None, 20, "16.8")])
def test_heavy_enlarging_is_told(fit: str | None, edge: int, times: str) -> None:
    (line,) = told((20, 30), fit, 336)
    assert f"has 20 x 30 pixels and is enlarged {times} times" in line
    assert told((edge * 6, edge * 6), fit, 336) == []
