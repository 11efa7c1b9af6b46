"""Aspect buckets: the few sizes that pictures of any shape are trained in, so that little of each is cut off."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Size = tuple[int, int]
"""Height and width in pixels."""


def bucket_sizes(area: int, multiple: int, ratio: float) -> list[Size]:
    """Sizes of at most ``area`` x ``area`` pixels whose edges are multiples of ``multiple``, sorted.

    For every width the largest height, and the other way round, where the longer edge is at most ``ratio`` times the shorter.
    Empty if ``multiple`` is larger than ``area``.
    """
    sizes: set[Size] = set()
    for edge in range(multiple, area * area // multiple + 1, multiple):
        other = area * area // edge // multiple * multiple
        if other and max(edge, other) <= ratio * min(edge, other):
            sizes |= {(edge, other), (other, edge)}
    return sorted(sizes)


def nearest_buckets(pictures: NDArray[np.int64], areas: Sequence[Sequence[Size]]) -> NDArray[np.int64]:
    """For pictures (N x height, width) the number of a bucket, counted through the lists of ``areas``, smallest area first.

    It is the bucket of the nearest shape (by the logarithm of height over width) in the largest area that the picture fills
    without being enlarged, or else in the smallest.
    """
    pictures = np.maximum(pictures, 1)
    shapes = np.log(pictures[:, 0] / pictures[:, 1])
    chosen, start = np.zeros(len(pictures), dtype=np.int64), 0
    for number, sizes in enumerate(areas):
        buckets = np.asarray(sizes, dtype=np.int64)
        own = np.log(buckets[:, 0] / buckets[:, 1])
        nearest = np.abs(shapes[:, None] - own[None, :]).argmin(1)
        filled = (pictures >= buckets[nearest]).all(1)
        take = filled | (number == 0)
        chosen[take] = start + nearest[take]
        start += len(sizes)
    return chosen
