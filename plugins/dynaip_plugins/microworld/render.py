"""Scenes to pixels: vectorised, anti-aliased and deterministic."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .shapes import EMBLEM_CENTRES, EMBLEMS, SILHOUETTES, Field
from .world import Scene, Subject

SIZE = 64
EMBLEM_RADIUS = 0.37
OUTLINE = 1.1
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
SQUEEZE: dict[str, tuple[float, float]] = {"front": (1, 1), "side": (0.74, 1), "above": (1, 0.74)}
TILT: dict[str, float] = {"upright": 0.0, "tilted left": -0.42, "tilted right": 0.42}
LIGHT: dict[str, tuple[float, float]] = {"from left": (-1, 0), "from right": (1, 0), "from above": (0, -1)}

_Y, _X = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) + 0.5


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a subject stands, in pixels."""

    x: float
    y: float
    radius: float


def _place(scene: Scene, subject: Subject, offset: NDArray[np.float64]) -> Placement:
    """Places of single subjects lie nearer the middle, and single subjects are larger and jitter more."""
    single = len(scene.subjects) == 1
    reach, wander = (10.0, 1.5) if single else (16.0, 0.7)
    radii = {"small": 15.5, "large": 21.0} if single else {"small": 12.5, "large": 16.0}
    cx, cy = CENTRES[subject.place]
    shift = (offset * 2 - 1) * wander
    return Placement(SIZE / 2 + cx * reach + shift[0], SIZE / 2 + cy * reach + shift[1], radii[subject.size])


def _chance(scene: Scene) -> NDArray[np.float64]:
    """Offsets of up to four subjects and the background's phases. [5,2]."""
    return np.random.default_rng(scene.jitter).random((5, 2))


def placements(scene: Scene) -> list[Placement]:
    """Where every subject of a scene stands."""
    chance = _chance(scene)
    return [_place(scene, subject, chance[k]) for k, subject in enumerate(scene.subjects)]


def _column(values: Sequence[float]) -> Field:
    return np.asarray(values, np.float32)[:, None, None]


def _cover(distance: Field) -> Field:
    """Signed distance in pixels -> coverage in [0, 1]."""
    return np.clip(0.5 - distance, 0, 1)


def _blend(image: Field, colour: Field, cover: Field) -> Field:
    return image + (colour - image) * cover[..., None]


def _by_name(table: Mapping[str, Callable[..., Field]], names: Sequence[str], *arguments: Field) -> Field:
    """Evaluate for each row the function of its name. [n,64,64]."""
    out, rows = np.empty((len(names), SIZE, SIZE), np.float32), np.asarray(names)
    for name in sorted(set(names)):
        chosen = rows == name
        out[chosen] = table[name](*(argument[chosen] for argument in arguments))
    return out


def _lines(along: Field, half_width: float = 1.5, period: float = 8.0) -> Field:
    """Lines `period` pixels apart, as signed distances; the middle between two lies at 0."""
    return np.abs(along % period - period / 2) - half_width


TEXTURES: dict[str, Callable[[Field, Field, Field], Field]] = {
    "rim": lambda x, y, depth: depth - 4.2,
    "stripes": lambda x, y, depth: _lines(y, 1.7),
    "dots": lambda x, y, depth: np.hypot(x % 8 - 4, y % 8 - 4) - 2.4,
    "checks": lambda x, y, depth: np.minimum(_lines(x, 1.2), _lines(y, 1.2)),
}
"""Signed distance of the second colour; x, y in pixels from the emblem, depth = pixels inside the edge."""

GROUND_WAVES: dict[str, Callable[[Field, Field], Field]] = {
    "meadow": lambda a, b: 0.5 + 0.25 * np.sin(_X / 6 + a) + 0.25 * np.sin(_Y / 5 + b),
    "sea": lambda a, b: 0.5 + 0.5 * np.sin(_Y / 2.6 + np.sin(_X / 7 + a) + b),
    "sand": lambda a, b: 0.5 + 0.5 * np.sin((_X + _Y) / 5.5 + a),
    "night": lambda a, b: 0.5 + 0.5 * np.sin(_Y / 20 + b),
    "snow": lambda a, b: 0.5 + 0.5 * np.sin((_X - 0.6 * _Y) / 9 + a),
    "brick": lambda a, b: np.clip(1.5 - _joint(_X + a, _Y + b), 0, 1),
}
"""How far each pixel lies between a ground's two colours; a, b = phases."""


def _joint(x: Field, y: Field) -> Field:
    """Pixels to the nearest joint of a brick wall."""
    return np.minimum(y % 8, (x + 8 * (np.floor(y / 8) % 2)) % 16)


def backgrounds(scenes: Sequence[Scene], phases: NDArray[np.float64]) -> Field:
    """Grounds with a simple low-frequency pattern, a little brighter where the light comes from. [B,64,64,3]."""
    names = [scene.background for scene in scenes]
    a, b = _column(phases[:, 0] * 2 * np.pi), _column(phases[:, 1] * 2 * np.pi)
    mix = _by_name(GROUND_WAVES, names, a, b)[..., None]
    low, high = (np.array([GROUNDS[name][i] for name in names], np.float32)[:, None, None] for i in (0, 1))
    light = np.array([LIGHT[scene.illumination] for scene in scenes], np.float32)[:, :, None, None]
    slope = light[:, 0] * (_X / 32 - 1) + light[:, 1] * (_Y / 32 - 1)
    return (low + (high - low) * mix) * (1 + 0.13 * slope[..., None])


def _draw(image: Field, scenes: Sequence[Scene], subjects: Sequence[Subject], poses: Sequence[Placement]) -> Field:
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
    texture = _by_name(TEXTURES, [i.texture for i in who], ex, ey, -distance)
    fill = _blend(np.broadcast_to(main, image.shape), second, _cover(texture))

    light = np.array([LIGHT[scene.illumination] for scene in scenes], np.float32)[:, :, None, None]
    slope = np.clip((light[:, 0] * dx + light[:, 1] * dy) / radius, -1, 1)
    fill = fill * (0.82 + 0.32 * slope[..., None])

    size = radius * EMBLEM_RADIUS
    mark = _by_name(EMBLEMS, [i.emblem for i in who], ex / size, ey / size) * size
    fill = _blend(_blend(fill, INK, _cover(mark - OUTLINE)), WHITE, _cover(mark))
    return _blend(_blend(image, INK, _cover(distance)), fill, _cover(distance + OUTLINE))


def render(scenes: Sequence[Scene]) -> NDArray[np.uint8]:
    """Draw scenes. [B,64,64,3] uint8; the same scenes always give the same bytes."""
    chance = np.stack([_chance(scene) for scene in scenes])
    image = backgrounds(scenes, chance[:, 4])
    for k in range(max(len(scene.subjects) for scene in scenes)):
        rows = [row for row, scene in enumerate(scenes) if len(scene.subjects) > k]
        chosen = [scenes[row] for row in rows]
        subjects = [scene.subjects[k] for scene in chosen]
        poses = [
            _place(scene, subject, chance[row, k]) for row, scene, subject in zip(rows, chosen, subjects, strict=True)
        ]
        image[rows] = _draw(image[rows], chosen, subjects, poses)
    return np.clip(image + 0.5, 0, 255).astype(np.uint8)
