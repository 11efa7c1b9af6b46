"""Aspect buckets against those that were counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from dynaip.images.buckets import bucket_sizes, nearest_buckets


def test_sizes_by_hand() -> None:
    assert bucket_sizes(512, 64, 2) == [(384, 640), (448, 576), (512, 512), (576, 448), (640, 384)]
    assert bucket_sizes(64, 16, 1) == [(64, 64)]
    assert bucket_sizes(32, 64, 2) == []


@pytest.mark.parametrize(("area", "multiple", "ratio"), [(512, 16, 2.0), (1024, 64, 4.0), (100, 7, 1.5)])
def test_sizes_keep_to_their_rules(area: int, multiple: int, ratio: float) -> None:
    sizes = bucket_sizes(area, multiple, ratio)
    assert sizes == sorted({(width, height) for height, width in sizes})
    for height, width in sizes:
        assert height % multiple == width % multiple == 0
        assert height * width <= area * area
        assert max(height, width) <= ratio * min(height, width)
        assert (min(height, width) + multiple) * (max(height, width) + multiple) > area * area


def test_the_nearest_shape_in_the_largest_area_that_is_filled() -> None:
    areas = [bucket_sizes(32, 8, 2), bucket_sizes(64, 8, 2)]
    flat = [size for sizes in areas for size in sizes]
    pictures = np.array([(64, 64), (63, 64), (10, 10), (100, 60), (0, 0), (4000, 100)])
    chosen = [flat[number] for number in nearest_buckets(pictures, areas)]
    assert chosen == [(64, 64), (32, 32), (32, 32), (80, 48), (32, 32), (80, 48)]
