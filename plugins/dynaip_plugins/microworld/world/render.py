"""Scenes to pixels: signed distances, so that edges are crisp and anti-aliased at any size; deterministic, on any device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from .scenes import Scene
from .shapes import EMBLEM_CENTRES, EMBLEMS, SILHOUETTES
from .table import SLOTS, Table, table_of
from .vocabulary import ATTRIBUTES, IDENTITY, PROMPTED, UNPROMPTED

SIZE = 128
EMBLEM_RADIUS = 0.42
SOFTNESS = 1.4
"""Pixels over which an edge fades."""
CHUNK = 512
"""Scenes that are drawn at once."""
WHITE = 250.0
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
SQUEEZE: dict[str, float] = {"front": 1.0, "side": 0.74}
TILT: dict[str, float] = {"upright": 0.0, "tilted left": -0.4, "tilted right": 0.4}
LIGHT: dict[str, tuple[float, float]] = {"from left": (-1, 0), "from right": (1, 0), "from above": (0, -1)}
RADII: dict[str, tuple[float, float]] = {"small": (34.0, 25.0), "large": (46.0, 32.0)}
"""Radius in pixels of a subject that is alone, and of one among others."""

Pattern = Callable[[Tensor, Tensor, Tensor], Tensor]


def _bands(along: Tensor, period: float) -> Tensor:
    """Bands a `period` apart and just under half as wide, as signed distances; the middle between two lies at 0."""
    return (torch.remainder(along, period) - period / 2).abs() - 0.22 * period


def _checks(x: Tensor, y: Tensor, side: float) -> Tensor:
    near = [side / 2 - (torch.remainder(part, side) - side / 2).abs() for part in (x, y)]
    odd = torch.remainder(torch.floor(x / side) + torch.floor(y / side), 2) > 0.5
    return torch.where(odd, -1.0, 1.0) * torch.minimum(*near)


TEXTURES: dict[str, Pattern] = {
    "rim": lambda x, y, depth: depth - 0.2,
    "stripes": lambda x, y, depth: _bands(y, 0.56),
    "halves": lambda x, y, depth: -x,
    "checks": lambda x, y, depth: _checks(x, y, 0.46),
}
"""Signed distance of the second colour; x, y from the emblem and depth inside the edge, in units of the radius."""

WAVES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "meadow": lambda x, y: 0.5 + 0.5 * torch.sin(x / 18) * torch.sin(y / 18),
    "sea": lambda x, y: 0.5 + 0.5 * torch.sin(y / 8),
    "sand": lambda x, y: 0.5 + 0.5 * torch.sin((x + y) / 16),
    "night": lambda x, y: y / SIZE,
    "snow": lambda x, y: 0.5 + 0.5 * torch.sin((x - y) / 24),
    "clay": lambda x, y: 0.5 + 0.5 * torch.sin(x / 10),
}
"""How far a pixel lies between a ground's two colours."""


@cache
def _constants(name: str, device: torch.device) -> Tensor:
    """Numbers that belong to the words of an attribute, in their order, on a device."""
    tables: dict[str, Callable[[], object]] = {
        "colour": lambda: [RGB[word] for word in IDENTITY["main"]],
        "ground": lambda: [GROUNDS[word] for word in PROMPTED["background"]],
        "centre": lambda: [CENTRES[word] for word in PROMPTED["place"]],
        "radius": lambda: [RADII[word] for word in PROMPTED["size"]],
        "squeeze": lambda: [SQUEEZE[word] for word in UNPROMPTED["perspective"]],
        "tilt": lambda: [TILT[word] for word in UNPROMPTED["posture"]],
        "light": lambda: [LIGHT[word] for word in UNPROMPTED["illumination"]],
        "emblem": lambda: [EMBLEM_CENTRES[word] for word in PROMPTED["category"]],
    }
    return torch.tensor(tables[name](), dtype=torch.float32, device=device)


@cache
def _mesh(device: torch.device) -> tuple[Tensor, Tensor]:
    """Across and down of every pixel's middle. Each [128,128]."""
    line = torch.arange(SIZE, device=device) + 0.5
    down, across = torch.meshgrid(line, line, indexing="ij")
    return across.contiguous(), down.contiguous()


@cache
def _waves(device: torch.device) -> Tensor:
    """The pattern of every ground. [grounds,128,128]."""
    return torch.stack([WAVES[name](*_mesh(device)) for name in PROMPTED["background"]])


def placements(table: Table) -> Tensor:
    """Where every subject stands: x, y and radius in pixels; empty slots hold anything. [B,4,3].

    Places of single subjects lie nearer the middle, and single subjects are larger and jitter more.
    """
    single = (table.count == 1)[:, None]
    reach, wander = torch.where(single, 18.0, 32.0), torch.where(single, 2.0, 1.4)
    centre = _constants("centre", table.device)[table.column("place")]
    shift = (table.offsets() * 2 - 1) * wander[..., None]
    radius = _constants("radius", table.device)[table.column("size")]
    return torch.cat(
        [SIZE / 2 + centre * reach[..., None] + shift, torch.where(single, *radius.unbind(-1))[..., None]], -1
    )


def owners(table: Table, grid: int) -> Tensor:
    """Which subject covers the middle of each of grid x grid tokens (the last one drawn if several do), or -1. [N,T] int8."""
    line = (torch.arange(grid, device=table.device) + 0.5) * (SIZE / grid)
    y, x = torch.meshgrid(line, line, indexing="ij")
    place = placements(table)[..., None, None]
    near = torch.hypot(x - place[:, :, 0], y - place[:, :, 1]) < place[:, :, 2]
    number = torch.arange(1, near.shape[1] + 1, device=table.device)[None, :, None, None]
    covered = (near & table.present[..., None, None]) * number
    return (covered.amax(1) - 1).to(torch.int8).flatten(1)


def _by_number(functions: Sequence[Callable[..., Tensor]], numbers: Tensor, *arguments: Tensor) -> Tensor:
    """For every row the function of its number. [n,128,128]."""
    out = torch.empty_like(arguments[0])
    for number in numbers.unique().tolist():
        rows = torch.nonzero(numbers == number)[:, 0]
        out[rows] = functions[number](*(argument[rows] for argument in arguments))
    return out


def _cover(distance: Tensor) -> Tensor:
    """Signed distance in pixels -> coverage in [0, 1]."""
    return (0.5 - distance / SOFTNESS).clamp(0, 1)


def _each(values: Tensor) -> Tensor:
    return values[:, None, None]


class Posed:
    """One subject of each of n scenes in its own coordinates: x, y turned upright, and its distance, in pixels [n,128,128].

    values [n,A] are the subjects' attributes, poses [n,3] their x, y and radius in pixels.
    """

    def __init__(self, values: Tensor, poses: Tensor) -> None:
        self.of = dict(zip(ATTRIBUTES, values.unbind(-1), strict=True))
        device, (across, down) = values.device, _mesh(values.device)
        self.radius = _each(poses[:, 2])
        self.dx, self.dy = across - _each(poses[:, 0]), down - _each(poses[:, 1])
        angle = _each(_constants("tilt", device)[self.of["posture"]])
        cos, sin = torch.cos(angle), torch.sin(angle)
        self.x, self.y = self.dx * cos + self.dy * sin, self.dy * cos - self.dx * sin
        self.squeeze = _each(_constants("squeeze", device)[self.of["perspective"]])
        forms = [form for category in PROMPTED["category"] for form in SILHOUETTES[category]]
        form = self.of["category"] * len(IDENTITY["variant"]) + self.of["variant"]
        u, v = self.x / (self.radius * self.squeeze), self.y / self.radius
        self.distance = _by_number(forms, form, u, v) * self.radius * self.squeeze

    @property
    def cover(self) -> Tensor:
        """How much of every pixel the subject covers. [n,128,128] in [0, 1]."""
        return _cover(self.distance)

    def fill(self) -> Tensor:
        """What the subject looks like, wherever it is: colours, texture, emblem and light. [n,3,128,128], 0 to 255."""
        device, radius = self.radius.device, self.radius
        light = _constants("light", device)[self.of["illumination"]]
        centre = _constants("emblem", device)[self.of["category"], self.of["variant"]]
        ex, ey = self.x - _each(centre[:, 0]) * self.squeeze * radius, self.y - _each(centre[:, 1]) * radius
        parts = (ex / radius, ey / radius, -self.distance / radius)
        texture = _by_number(list(TEXTURES.values()), self.of["texture"], *parts) * radius
        size = radius * EMBLEM_RADIUS
        emblem = _by_number(list(EMBLEMS.values()), self.of["emblem"], ex / size, ey / size) * size
        colours = _constants("colour", device)
        main, second = (colours[self.of[name]][:, :, None, None] for name in ("main", "second"))
        slope = ((_each(light[:, 0]) * self.dx + _each(light[:, 1]) * self.dy) / radius).clamp(-1, 1)
        plain = (main + (second - main) * _cover(texture)[:, None]) * (0.82 + 0.32 * slope)[:, None]
        return plain + (WHITE - plain) * _cover(emblem)[:, None]


def grounds(table: Table) -> Tensor:
    """Grounds with a simple low-frequency pattern, a little brighter where the light comes from. [B,3,128,128] float."""
    ground, light = (table.column(name)[:, 0] for name in ("background", "illumination"))
    low, high = _constants("ground", table.device)[ground].unbind(1)
    mix = _waves(table.device)[ground][:, None]
    direction = _constants("light", table.device)[light]
    across, down = (part * (2 / SIZE) - 1 for part in _mesh(table.device))
    slope = _each(direction[:, 0]) * across + _each(direction[:, 1]) * down
    low, high = low[:, :, None, None], high[:, :, None, None]
    return (low + (high - low) * mix) * (1 + 0.13 * slope)[:, None]


def paint(table: Table, chunk: int = CHUNK) -> Tensor:
    """Draw scenes where their table lies. [B,3,128,128] uint8."""
    parts = [_paint(table[start : start + chunk]) for start in range(0, len(table), chunk)]
    return torch.cat(parts)


def _paint(table: Table) -> Tensor:
    image, poses = grounds(table), placements(table)
    for slot in range(SLOTS):
        rows = torch.nonzero(table.present[:, slot])[:, 0]
        if len(rows):
            posed = Posed(table.values[rows, slot], poses[rows, slot])
            below = image[rows]
            image[rows] = below + (posed.fill() - below) * posed.cover[:, None]
    return (image + 0.5).clamp(0, 255).to(torch.uint8)


def render(scenes: Sequence[Scene]) -> NDArray[np.uint8]:
    """Draw scenes. [B,128,128,3] uint8; the same scenes always give the same bytes."""
    return np.ascontiguousarray(paint(table_of(scenes)).permute(0, 2, 3, 1).numpy())


def backgrounds(scenes: Sequence[Scene]) -> NDArray[np.float32]:
    """Grounds of scenes without their subjects. [B,128,128,3]."""
    return grounds(table_of(scenes)).permute(0, 2, 3, 1).numpy()


def pictures(scenes: Sequence[Scene]) -> list[Image.Image]:
    """Render scenes as PIL images."""
    return [Image.fromarray(pixels) for pixels in render(scenes)]


def subject_mask(scene: Scene) -> NDArray[np.bool_]:
    """Where the subjects of a scene are (height x width): pixels that one of them covers by more than half."""
    table = table_of([scene])
    present = table.present[0]
    return (Posed(table.values[0, present], placements(table)[0, present]).cover.amax(0) > 0.5).numpy()
