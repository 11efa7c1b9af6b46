"""Silhouettes and emblems as signed distance functions (negative inside) of the unit disc."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.floating]
Distance = Callable[[Field, Field], Field]


def _disc(u: Field, v: Field, radius: float) -> Field:
    return np.hypot(u, v) - radius


def _box(u: Field, v: Field, half_width: float, half_height: float) -> Field:
    x, y = np.abs(u) - half_width, np.abs(v) - half_height
    return np.hypot(np.maximum(x, 0), np.maximum(y, 0)) + np.minimum(np.maximum(x, y), 0)


def star(u: Field, v: Field) -> Field:
    """Five points, one of them up; folded onto one edge."""
    x, y, cos, sin = np.abs(u), -v + 0.04, 0.809017, 0.587785
    for kx, ky in ((cos, -sin), (-cos, -sin)):
        fold = 2 * np.maximum(kx * x + ky * y, 0)
        x, y = x - fold * kx, y - fold * ky
    x, y = np.abs(x), y - 1.08
    edge_x, edge_y = 0.66 * sin, 0.66 * cos - 1.08
    along = np.clip((x * edge_x + y * edge_y) / (edge_x**2 + edge_y**2), 0, 1.08)
    return np.hypot(x - edge_x * along, y - edge_y * along) * np.sign(y * edge_x - x * edge_y)


def heart(u: Field, v: Field) -> Field:
    """Two lobes up, the tip down."""
    x, y = np.abs(u), -(v - 0.95)
    x, y = x / 1.62, y / 1.62
    lobe = np.hypot(x - 0.25, y - 0.75) - 0.35355339
    half = 0.5 * np.maximum(x + y, 0)
    wedge = np.minimum(np.hypot(x, y - 1), np.hypot(x - half, y - half)) * np.sign(x - y)
    return np.where(x + y > 1, lobe, wedge) * 1.62


def drop(u: Field, v: Field) -> Field:
    """A disc below, drawn out to a tip above."""
    x, y, length, radius = np.abs(u), -(v - 0.28), 1.28, 0.72
    slope = radius / length
    rise = np.sqrt(1 - slope**2)
    along = x * -slope + y * rise
    cone = np.where(along > rise * length, np.hypot(x, y - length), x * rise + y * slope - radius)
    return np.where(along < 0, np.hypot(x, y) - radius, cone)


def house(u: Field, v: Field) -> Field:
    """Walls and a pitched roof with eaves."""
    walls = _box(u, v - 0.38, 0.66, 0.54)
    roof = np.maximum((np.abs(u) * 0.9 - (v + 0.96)) * 0.74, v - 0.02)
    return np.minimum(walls, roof)


def mug(u: Field, v: Field) -> Field:
    """A body and, at the right, its handle."""
    body = _box(u + 0.2, v, 0.58, 0.7) - 0.1
    handle = np.abs(np.hypot(u - 0.55, v) - 0.33) - 0.11
    return np.minimum(body, handle)


def fish(u: Field, v: Field) -> Field:
    """A body that looks left, a tail at the right and a fin above."""
    body = (np.hypot((u + 0.22) / 0.8, v / 0.74) - 1) * 0.75
    tail = np.maximum((np.abs(v) - (u - 0.3) * 1.05) * 0.69, u - 0.98)
    fin = np.maximum(np.maximum(-v - 0.94, v + 0.3), np.abs(u + 0.1) - 0.28)
    return np.minimum(np.minimum(body, tail), fin)


SILHOUETTES: dict[str, Distance] = {
    "star": star,
    "heart": heart,
    "drop": drop,
    "house": house,
    "mug": mug,
    "fish": fish,
}

EMBLEM_CENTRES: dict[str, tuple[float, float]] = {
    "star": (0.0, 0.02),
    "heart": (0.0, -0.12),
    "drop": (0.0, 0.3),
    "house": (0.0, 0.28),
    "mug": (-0.2, 0.0),
    "fish": (-0.24, 0.0),
}
"""Where an emblem sits, in units of the subject's radius."""


def disc(u: Field, v: Field) -> Field:
    """A filled disc."""
    return _disc(u, v, 0.86)


def ring(u: Field, v: Field) -> Field:
    """A disc with a hole."""
    return np.abs(np.hypot(u, v) - 0.74) - 0.24


def cross(u: Field, v: Field) -> Field:
    """Two crossed bars."""
    return np.minimum(_box(u, v, 1.02, 0.27), _box(u, v, 0.27, 1.02))


def bar(u: Field, v: Field) -> Field:
    """One upright bar."""
    return _box(u, v, 0.32, 1.06)


EMBLEMS: dict[str, Distance] = {"disc": disc, "ring": ring, "cross": cross, "bar": bar}
