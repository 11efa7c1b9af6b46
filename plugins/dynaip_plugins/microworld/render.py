"""Scenes to pixels: vectorised, anti-aliased and deterministic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .shapes import EMBLEM_CENTRES, EMBLEMS, SILHOUETTES, Distance, Field
from .vocabulary import PROMPTED
from .world import Scene, Subject

SIZE = 64
EMBLEM_RADIUS = 0.43
OUTLINE = 1.3
INK = np.array([22, 20, 28], np.float32)
WHITE = np.array([250, 250, 250], np.float32)
RGB: dict[str, tuple[int, int, int]] = {
    "red": (214, 24, 28),
    "orange": (244, 132, 12),
    "yellow": (240, 222, 30),
    "green": (30, 158, 44),
    "cyan": (44, 208, 216),
    "blue": (30, 60, 214),
    "purple": (128, 36, 176),
    "pink": (244, 126, 190),
}
GROUNDS: dict[str, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "meadow": ((120, 152, 96), (142, 172, 112)),
    "sea": ((92, 128, 158), (122, 156, 180)),
    "sand": ((206, 188, 150), (190, 170, 130)),
    "night": ((36, 38, 62), (58, 58, 90)),
    "snow": ((226, 230, 236), (204, 212, 224)),
    "brick": ((150, 104, 92), (186, 164, 150)),
}
CENTRES: dict[str, tuple[float, float]] = {
    "left": (-1, 0),
    "right": (1, 0),
    "top": (0, -1),
    "bottom": (0, 1),
    "middle": (0, 0),
    "top left": (-1, -1),
    "top right": (1, -1),
    "bottom left": (-1, 1),
    "bottom right": (1, 1),
}
SQUEEZE: dict[str, tuple[float, float]] = {"front": (1, 1), "side": (0.68, 1), "above": (1, 0.68)}
TILT: dict[str, float] = {"upright": 0.0, "tilted left": -0.42, "tilted right": 0.42}
LIGHT: dict[str, tuple[float, float]] = {"from left": (-1, 0), "from right": (1, 0), "from above": (0, -1)}

_Y, _X = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) + 0.5


@dataclass(frozen=True, slots=True)
class _Pose:
    """Where a subject stands, in pixels."""

    x: float
    y: float
    radius: float


def _pose(scene: Scene, subject: Subject, offset: NDArray[np.float64]) -> _Pose:
    """Places of single subjects lie nearer the middle, and single subjects are larger and jitter more."""
    single = len(scene.subjects) == 1
    reach, wander = (12.0, 2.0) if single else (16.0, 1.0)
    radii = {"small": 12.5, "large": 18.0} if single else {"small": 10.5, "large": 14.5}
    cx, cy = CENTRES[subject.place]
    shift = (offset * 2 - 1) * wander
    return _Pose(SIZE / 2 + cx * reach + shift[0], SIZE / 2 + cy * reach + shift[1], radii[subject.size])


def _column(values: Sequence[float]) -> Field:
    return np.asarray(values, np.float32)[:, None, None]


def _cover(distance: Field) -> Field:
    """Signed distance in pixels -> coverage in [0, 1]."""
    return np.clip(0.5 - distance, 0, 1)


def _blend(image: Field, colour: Field, cover: Field) -> Field:
    return image + (colour - image) * cover[..., None]


def _by_name(table: dict[str, Distance], names: Sequence[str], u: Field, v: Field) -> Field:
    """Evaluate for each row the distance function of its name."""
    out, rows = np.empty_like(u), np.asarray(names)
    for name in sorted(set(names)):
        chosen = rows == name
        out[chosen] = table[name](u[chosen], v[chosen])
    return out


def _pattern(names: Sequence[str], x: Field, y: Field, depth: Field) -> Field:
    """Coverage of the second colour; x, y in pixels from the centre, depth = pixels inside the edge."""
    period = 8.0
    wrap_x, wrap_y = (x % period) - period / 2, (y % period) - period / 2
    coverage = {
        "rim": _cover(depth - 4.6),
        "stripes": _cover(np.abs(wrap_y) - period / 4),
        "dots": _cover(np.hypot(wrap_x, wrap_y) - 2.35),
        "checks": 0.5 - np.clip((np.abs((x % 10) - 5) - 2.5) * 2, -1, 1) * np.clip((np.abs((y % 10) - 5) - 2.5) * 2, -1, 1) / 2,
    }
    rows = np.asarray(names)
    return np.stack([coverage[name][row] for row, name in enumerate(rows)])


def backgrounds(scenes: Sequence[Scene], phases: NDArray[np.float64]) -> Field:
    """Grounds with a simple low-frequency pattern, a little brighter where the light comes from. [B,64,64,3]."""
    a, b = _column(phases[:, 0] * 2 * np.pi), _column(phases[:, 1] * 2 * np.pi)
    row = np.floor((_Y + b) / 8)
    joint = np.minimum((_Y + b) % 8, (_X + a + 8 * (row % 2)) % 16)
    waves: dict[str, Field] = {
        "meadow": 0.5 + 0.25 * np.sin(_X / 6 + a) + 0.25 * np.sin(_Y / 5 + b),
        "sea": 0.5 + 0.5 * np.sin(_Y / 2.6 + np.sin(_X / 7 + a) + b),
        "sand": 0.5 + 0.5 * np.sin((_X + _Y) / 5.5 + a),
        "night": 0.5 + 0.5 * np.sin(_Y / 20 + b) + 0 * a,
        "snow": 0.5 + 0.5 * np.sin((_X - 0.6 * _Y) / 9 + a),
        "brick": np.clip(1.5 - joint, 0, 1),
    }
    names = [scene.background for scene in scenes]
    mix = np.stack([waves[name][row] for row, name in enumerate(names)])[..., None].astype(np.float32)
    low, high = (np.array([GROUNDS[name][i] for name in names], np.float32)[:, None, None] for i in (0, 1))
    light = np.array([LIGHT[scene.illumination] for scene in scenes], np.float32)[:, :, None, None]
    slope = light[:, 0] * (_X / 32 - 1) + light[:, 1] * (_Y / 32 - 1)
    return (low + (high - low) * mix) * (1 + 0.13 * slope[..., None])


def _draw(image: Field, scenes: Sequence[Scene], subjects: Sequence[Subject], poses: Sequence[_Pose]) -> Field:
    """Draw one subject onto each image. [n,64,64,3]."""
    radius = _column([pose.radius for pose in poses])
    dx, dy = _X - _column([pose.x for pose in poses]), _Y - _column([pose.y for pose in poses])
    angle = _column([TILT[subject.posture] for subject in subjects])
    x, y = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
    squeeze = np.array([SQUEEZE[subject.perspective] for subject in subjects], np.float32)[:, :, None, None]
    categories = [subject.category for subject in subjects]
    distance = _by_name(SILHOUETTES, categories, x / radius / squeeze[:, 0], y / radius / squeeze[:, 1])
    distance = distance * radius * squeeze.min(1)

    who = [subject.identity for subject in subjects]
    main, second = (np.array([RGB[getattr(i, n)] for i in who], np.float32)[:, None, None] for n in ("main", "second"))
    centre = np.array([EMBLEM_CENTRES[name] for name in categories], np.float32)[:, :, None, None] * squeeze
    ex, ey = x - centre[:, 0] * radius, y - centre[:, 1] * radius
    fill = _blend(np.broadcast_to(main, image.shape), second, _pattern([i.texture for i in who], ex, ey, -distance))

    light = np.array([LIGHT[scene.illumination] for scene in scenes], np.float32)[:, :, None, None]
    slope = np.clip((light[:, 0] * dx + light[:, 1] * dy) / radius, -1, 1)
    fill = fill * (0.82 + 0.32 * slope[..., None])

    size = radius * EMBLEM_RADIUS
    mark = _by_name(EMBLEMS, [i.emblem for i in who], ex / size, ey / size) * size
    fill = _blend(_blend(fill, INK, _cover(mark - OUTLINE)), WHITE, _cover(mark))
    return _blend(_blend(image, INK, _cover(distance)), fill, _cover(distance + OUTLINE))


def render(scenes: Sequence[Scene]) -> NDArray[np.uint8]:
    """Draw scenes. [B,64,64,3] uint8; the same scenes always give the same bytes."""
    chance = np.stack([np.random.default_rng(scene.jitter).random((5, 2)) for scene in scenes])
    image = backgrounds(scenes, chance[:, 4])
    for k in range(max(len(scene.subjects) for scene in scenes)):
        rows = [row for row, scene in enumerate(scenes) if len(scene.subjects) > k]
        chosen = [scenes[row] for row in rows]
        subjects = [scene.subjects[k] for scene in chosen]
        poses = [_pose(scene, subject, chance[row, k]) for row, scene, subject in zip(rows, chosen, subjects, strict=True)]
        image[rows] = _draw(image[rows], chosen, subjects, poses)
    return np.clip(image + 0.5, 0, 255).astype(np.uint8)


__all__ = ["PROMPTED", "SIZE", "backgrounds", "render"]
