"""Silhouettes and emblems as signed distance functions (negative inside) of the unit disc; u to the right, v down."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

Distance = Callable[[Tensor, Tensor], Tensor]


def _disc(u: Tensor, v: Tensor, radius: float) -> Tensor:
    return torch.hypot(u, v) - radius


def _box(u: Tensor, v: Tensor, half_width: float, half_height: float) -> Tensor:
    x, y = u.abs() - half_width, v.abs() - half_height
    return torch.hypot(x.clamp_min(0), y.clamp_min(0)) + torch.maximum(x, y).clamp_max(0)


def _union(*fields: Tensor) -> Tensor:
    return torch.stack(fields).amin(0)


def star(u: Tensor, v: Tensor, points: int, waist: float) -> Tensor:
    """A regular star, one point up: folded onto half a point, then the distance from its edge."""
    sector = 2 * math.pi / points
    radius, angle = torch.hypot(u, v), torch.atan2(u, -v)
    angle = (torch.remainder(angle + sector / 2, sector) - sector / 2).abs()
    x, y = radius * torch.cos(angle) - 1.08, radius * torch.sin(angle)
    edge_x, edge_y = waist * math.cos(sector / 2) - 1.08, waist * math.sin(sector / 2)
    along = ((x * edge_x + y * edge_y) / (edge_x**2 + edge_y**2)).clamp(0, 1)
    return torch.hypot(x - edge_x * along, y - edge_y * along) * torch.sign(y * -edge_x + x * edge_y)


def heart(u: Tensor, v: Tensor) -> Tensor:
    """Two lobes up, the tip down."""
    x, y = u.abs() / 1.62, -(v - 0.95) / 1.62
    lobe = torch.hypot(x - 0.25, y - 0.75) - 0.35355339
    half = 0.5 * (x + y).clamp_min(0)
    wedge = torch.minimum(torch.hypot(x, y - 1), torch.hypot(x - half, y - half)) * torch.sign(x - y)
    return torch.where(x + y > 1, lobe, wedge) * 1.62


def pierced_heart(u: Tensor, v: Tensor) -> Tensor:
    """A heart with a rod through it, which sticks out at the upper right and the lower left."""
    along, across = (u - v) * math.sqrt(0.5), (u + v) * math.sqrt(0.5)
    return _union(heart(u, v), _box(along, across, 1.34, 0.12))


def bitten_heart(u: Tensor, v: Tensor) -> Tensor:
    """A heart with a bite out of its right side."""
    return torch.maximum(heart(u, v), -_disc(u - 0.98, v + 0.1, 0.38))


def _cone(u: Tensor, v: Tensor, radius: float, length: float) -> Tensor:
    """A disc at the origin, drawn out to a tip `length` above it."""
    x, y = u.abs(), -v
    slope = radius / length
    rise = math.sqrt(1 - slope**2)
    along = x * -slope + y * rise
    cone = torch.where(along > rise * length, torch.hypot(x, y - length), x * rise + y * slope - radius)
    return torch.where(along < 0, torch.hypot(x, y) - radius, cone)


def drop(u: Tensor, v: Tensor) -> Tensor:
    """A disc below, drawn out to a tip above."""
    return _cone(u, v - 0.28, 0.72, 1.28)


def flat_drop(u: Tensor, v: Tensor) -> Tensor:
    """A drop that stands on a flat base."""
    return torch.maximum(_cone(u, v - 0.36, 0.76, 1.36), v - 0.66)


def spindle(u: Tensor, v: Tensor) -> Tensor:
    """A drop with a tip above and another below."""
    return _cone(u, -v.abs(), 0.66, 1.12)


def _walls(u: Tensor, v: Tensor) -> Tensor:
    return _box(u, v - 0.38, 0.66, 0.54)


def house(u: Tensor, v: Tensor) -> Tensor:
    """Walls and a pitched roof with eaves."""
    roof = torch.maximum((u.abs() * 0.9 - (v + 0.96)) * 0.74, v - 0.02)
    return _union(_walls(u, v), roof)


def smoking_house(u: Tensor, v: Tensor) -> Tensor:
    """A house with a chimney at the right."""
    return _union(house(u, v), _box(u - 0.52, v + 0.66, 0.15, 0.4))


def double_house(u: Tensor, v: Tensor) -> Tensor:
    """A house under two gables."""
    gables = torch.maximum(((u.abs() - 0.47).abs() * 1.35 - (v + 0.9)) * 0.6, v - 0.02)
    return _union(_walls(u, v), gables)


def _handle(u: Tensor, v: Tensor) -> Tensor:
    return (torch.hypot(u, v) - 0.33).abs() - 0.11


def mug(u: Tensor, v: Tensor) -> Tensor:
    """A body and, at the right, its handle."""
    return _union(_box(u + 0.2, v, 0.58, 0.7) - 0.1, _handle(u - 0.55, v))


def two_handled_mug(u: Tensor, v: Tensor) -> Tensor:
    """A body between two handles."""
    return _union(_box(u, v, 0.42, 0.7) - 0.1, _handle(u.abs() - 0.6, v))


def _fish_body(u: Tensor, v: Tensor) -> Tensor:
    body = (torch.hypot((u + 0.22) / 0.8, v / 0.74) - 1) * 0.75
    fin = torch.maximum(((u - 0.02).abs() * 1.2 - (v + 1.06)) * 0.64, v + 0.3)
    return _union(body, fin)


def fish(u: Tensor, v: Tensor) -> Tensor:
    """A body that looks left, a tail at the right and a fin above."""
    tail = torch.maximum((v.abs() - (u - 0.3) * 1.05) * 0.69, u - 0.98)
    return _union(_fish_body(u, v), tail)


def round_tailed_fish(u: Tensor, v: Tensor) -> Tensor:
    """A fish that looks left, its tail two balls."""
    return _union(_fish_body(u, v), _disc(u - 0.72, v.abs() - 0.27, 0.28))


def _mirrored(distance: Distance) -> Distance:
    return lambda u, v: distance(-u, v)


SILHOUETTES: dict[str, tuple[Distance, Distance, Distance]] = {
    "star": (partial(star, points=5, waist=0.56), partial(star, points=4, waist=0.46), partial(star, points=6, waist=0.62)),
    "heart": (heart, pierced_heart, bitten_heart),
    "drop": (drop, flat_drop, spindle),
    "house": (house, smoking_house, double_house),
    "mug": (mug, _mirrored(mug), two_handled_mug),
    "fish": (fish, _mirrored(fish), round_tailed_fish),
}  # fmt: skip
"""The forms of each category, in the order of the attribute `variant`; `vocabulary.FORMS` has their names."""

Point = tuple[float, float]
EMBLEM_CENTRES: dict[str, tuple[Point, Point, Point]] = {
    "star": ((0.0, 0.02), (0.0, 0.0), (0.0, 0.0)),
    "heart": ((0.0, -0.12), (0.0, -0.12), (0.0, -0.12)),
    "drop": ((0.0, 0.3), (0.0, 0.24), (0.0, 0.0)),
    "house": ((0.0, 0.28), (0.0, 0.28), (0.0, 0.28)),
    "mug": ((-0.2, 0.0), (0.2, 0.0), (0.0, 0.0)),
    "fish": ((-0.24, 0.0), (0.24, 0.0), (-0.24, 0.0)),
}
"""Where an emblem sits on each form, in units of the subject's radius."""


def disc(u: Tensor, v: Tensor) -> Tensor:
    """A filled disc."""
    return _disc(u, v, 0.86)


def ring(u: Tensor, v: Tensor) -> Tensor:
    """A disc with a hole."""
    return (torch.hypot(u, v) - 0.74).abs() - 0.24


def cross(u: Tensor, v: Tensor) -> Tensor:
    """Two crossed bars."""
    return _union(_box(u, v, 1.02, 0.27), _box(u, v, 0.27, 1.02))


def bar(u: Tensor, v: Tensor) -> Tensor:
    """One upright bar."""
    return _box(u, v, 0.32, 1.06)


EMBLEMS: dict[str, Distance] = {"disc": disc, "ring": ring, "cross": cross, "bar": bar}
