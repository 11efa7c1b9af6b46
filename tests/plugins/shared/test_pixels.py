"""Squares of pictures against slices of their values."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from dynaip_plugins.shared.pixels import square


@pytest.mark.parametrize(("width", "height"), [(32, 32), (48, 32), (32, 48), (33, 32), (32, 61)])
def test_crop_is_the_middle_pixel_for_pixel(width: int, height: int) -> None:
    values = np.random.default_rng(1).integers(0, 255, (height, width, 3), dtype=np.uint8)
    left, top = (width - 32) // 2, (height - 32) // 2
    found = np.asarray(square(Image.fromarray(values), 32, "crop"))
    assert np.array_equal(found, values[top : top + 32, left : left + 32])


@pytest.mark.parametrize("fit", ["crop", "pad"])
@pytest.mark.parametrize("size", [(50_000, 1), (1, 50_000), (1, 1)])
def test_long_thin_pictures_cost_no_memory(fit: str, size: tuple[int, int]) -> None:
    """A square around such a picture would take gigabytes."""
    assert square(Image.new("RGB", size, "black"), 32, fit).size == (32, 32)


def test_pad_keeps_the_proportions() -> None:
    dark = np.asarray(square(Image.new("RGB", (40, 20), "black"), 32, "pad"))[..., 0] < 128
    assert np.array_equal(dark.sum(0), np.full(32, 16))
    assert np.flatnonzero(dark.any(1)).tolist() == list(range(8, 24))
