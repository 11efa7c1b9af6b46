"""Scenes to pixels: vectorised, anti-aliased and deterministic."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .scenes import Scene, Subject
from .shapes import EMBLEM_CENTRES, EMBLEMS, SILHOUETTES, Field
from .vocabulary import PROMPTED

SIZE = 64
EMBLEM_RADIUS = 0.42
SOFTNESS = 1.6
"""Pixels over which an edge fades."""
WHITE = np.array([250, 250, 250], np.float32)
RGB: dict[str, tuple[int, int, int]] = {
    "red": (218, 30, 32),
    "yellow": (240, 214, 24),
    "green": (28, 158, 52),
    "cyan": (44, 206, 214),
    "blue": (34, 62, 214),
    "pink": (232, 76, 196),
}
GROUNDS: dict[str, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "meadow": ((112, 146, 92), (142, 172, 116)),
    "sea": ((88, 122, 154), (126, 158, 182)),
    "sand": ((210, 192, 154), (186, 166, 126)),
    "night": ((34, 36, 60), (62, 62, 96)),
    "snow": ((230, 232, 238), (204, 210, 222)),
    "clay": ((142, 100, 88), (172, 130, 116)),
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
SQUEEZE: dict[str, tuple[float, float]] = {"front": (1, 1), "side": (0.74, 1)}
TILT: dict[str, float] = {"upright": 0.0, "tilted left": -0.4, "tilted right": 0.4}
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
    reach, wander = (9.0, 1.0) if single else (16.0, 0.7)
    radii = {"small": 17.0, "large": 23.0} if single else {"small": 12.5, "large": 16.0}
    cx, cy = CENTRES[subject.place]
    shift = (offset * 2 - 1) * wander
    return Placement(SIZE / 2 + cx * reach + shift[0], SIZE / 2 + cy * reach + shift[1], radii[subject.size])


def _chance(scene: Scene) -> NDArray[np.float64]:
    """Offsets of up to four subjects. [4,2]."""
    return np.random.default_rng(scene.jitter).random((4, 2))


def placements(scene: Scene) -> list[Placement]:
    """Where every subject of a scene stands."""
    chance = _chance(scene)
    return [_place(scene, subject, chance[k]) for k, subject in enumerate(scene.subjects)]


def _column(values: Sequence[float]) -> Field:
    return np.asarray(values, np.float32)[:, None, None]


def _cover(distance: Field) -> Field:
    """Signed distance in pixels -> coverage in [0, 1]."""
    return np.clip(0.5 - distance / SOFTNESS, 0, 1)


def _blend(image: Field, colour: Field, cover: Field) -> Field:
    return image + (colour - image) * cover[..., None]


def _by_name(table: Mapping[str, Callable[..., Field]], names: Sequence[str], *arguments: Field) -> Field:
    """Evaluate for each row the function of its name. [n,64,64]."""
    out, rows = np.empty((len(names), SIZE, SIZE), np.float32), np.asarray(names)
    for name in sorted(set(names)):
        chosen = rows == name
        out[chosen] = table[name](*(argument[chosen] for argument in arguments))
    return out


def _bands(along: Field, half_width: float, period: float) -> Field:
    """Bands a `period` apart, as signed distances; the middle between two lies at 0."""
    return np.abs(along % period - period / 2) - half_width


TEXTURES: dict[str, Callable[[Field, Field, Field], Field]] = {
    "rim": lambda x, y, depth: depth - 0.24,
    "stripes": lambda x, y, depth: _bands(y, 0.19, 0.9),
    "halves": lambda x, y, depth: -x,
    "checks": lambda x, y, depth: np.where(x * y > 0, -1, 1) * np.minimum(np.abs(x), np.abs(y)),
}
"""Signed distance of the second colour; x, y from the emblem and depth inside the edge, in units of the radius."""

GROUND_WAVES: dict[str, Field] = {
    "meadow": 0.5 + 0.5 * np.sin(_X / 9) * np.sin(_Y / 9),
    "sea": 0.5 + 0.5 * np.sin(_Y / 4),
    "sand": 0.5 + 0.5 * np.sin((_X + _Y) / 8),
    "night": _Y / SIZE,
    "snow": 0.5 + 0.5 * np.sin((_X - _Y) / 12),
    "clay": 0.5 + 0.5 * np.sin(_X / 5),
}
"""How far each pixel lies between a ground's two colours. [64,64]."""


def backgrounds(scenes: Sequence[Scene]) -> Field:
    """Grounds with a simple low-frequency pattern, a little brighter where the light comes from. [B,64,64,3]."""
    names = [scene.background for scene in scenes]
    mix = np.stack([GROUND_WAVES[name] for name in names])[..., None]
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
    texture = _by_name(TEXTURES, [i.texture for i in who], ex / radius, ey / radius, -distance / radius) * radius
    fill = _blend(np.broadcast_to(main, image.shape), second, _cover(texture))

    light = np.array([LIGHT[scene.illumination] for scene in scenes], np.float32)[:, :, None, None]
    slope = np.clip((light[:, 0] * dx + light[:, 1] * dy) / radius, -1, 1)
    fill = fill * (0.82 + 0.32 * slope[..., None])

    size = radius * EMBLEM_RADIUS
    mark = _by_name(EMBLEMS, [i.emblem for i in who], ex / size, ey / size) * size
    return _blend(image, _blend(fill, WHITE, _cover(mark)), _cover(distance))


def render(scenes: Sequence[Scene]) -> NDArray[np.uint8]:
    """Draw scenes. [B,64,64,3] uint8; the same scenes always give the same bytes."""
    chance = np.stack([_chance(scene) for scene in scenes])
    image = backgrounds(scenes)
    for k in range(max(len(scene.subjects) for scene in scenes)):
        rows = [row for row, scene in enumerate(scenes) if len(scene.subjects) > k]
        chosen = [scenes[row] for row in rows]
        subjects = [scene.subjects[k] for scene in chosen]
        poses = [
            _place(scene, subject, chance[row, k]) for row, scene, subject in zip(rows, chosen, subjects, strict=True)
        ]
        image[rows] = _draw(image[rows], chosen, subjects, poses)
    return np.clip(image + 0.5, 0, 255).astype(np.uint8)


def pictures(scenes: Sequence[Scene]) -> list[Image.Image]:
    """Render scenes as PIL images."""
    return [Image.fromarray(pixels) for pixels in render(scenes)]


def subject_mask(scene: Scene) -> NDArray[np.bool_]:
    """Where the subjects of a scene are (height x width): a change of the background shows there by less than half."""
    scenes = [replace(scene, background=background) for background in PROMPTED["background"]]
    seen, plain = (np.ptp(drawn.astype(np.float64), axis=0).sum(-1) for drawn in (render(scenes), backgrounds(scenes)))
    return seen < plain / 2
