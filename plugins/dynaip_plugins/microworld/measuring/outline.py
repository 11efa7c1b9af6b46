"""Outlines: the painted silhouette held against those that the renderer can draw. It asks no network.

What is painted is what differs from the ground, which is known: the renderer draws it from the prompt, and of its three
lights the one that fits best is taken. Every form of every category, in every posture and perspective, at sizes and places
around those asked for, is laid over what is painted; the best of each category counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.oracle import masks
from ..world.render import SIZE, Posed, grounds, placements
from ..world.table import COLUMNS, Table, boxes_of
from ..world.vocabulary import ATTRIBUTES, UNPROMPTED

DIFFERENT = 60.0
"""Summed difference of three channels (0 to 255 each) from the ground above which a pixel is painted."""
SIZES = (0.88, 0.94, 1.0, 1.06, 1.12)
NEAR = 4
"""How far around the place asked for is searched: units of two pixels."""
FINER_SIZES, FINER = (0.97, 1.0, 1.03), 2
TOGETHER, TOGETHER_ON_GPU = 8, 32
"""Subjects that are searched at once: a search is many small steps, which a GPU waits for, and a CPU's cache holds few."""
CATEGORIES, FORMS, POSTURES, PERSPECTIVES = (
    len(ATTRIBUTES[name]) for name in ("category", "variant", "posture", "perspective")
)


@dataclass(frozen=True, slots=True)
class Outlines:
    """Of every subject of every scene: row and slot, and by category [n,6] the best overlap, its attributes and its pose."""

    rows: Tensor
    slots: Tensor
    asked: Tensor
    """Index of the category asked for. [n]."""
    iou: Tensor
    """Intersection over union of the best outline of each category. [n,6]."""
    values: Tensor
    """Attributes of those outlines: category, variant, posture and perspective are found, illumination too. [n,6,A]."""
    poses: Tensor
    """Their x, y and radius in pixels. [n,6,3]."""
    painted: Tensor
    """What is painted of the subject. [n,128,128] bool."""

    @property
    def best(self) -> Tensor:
        """Overlap with the nearest outline of all. [n]."""
        return self.iou.amax(1)

    @property
    def category(self) -> Tensor:
        """Category of the nearest outline. [n]."""
        return self.iou.argmax(1)

    @property
    def right(self) -> Tensor:
        """Whether an outline of the category asked for fits best. [n] bool."""
        return self.category == self.asked


def _shapes(device: torch.device) -> Tensor:
    """Attributes of every form in every posture and perspective, by category. [6*18,A]."""
    numbers = torch.cartesian_prod(*(torch.arange(n) for n in (CATEGORIES, FORMS, POSTURES, PERSPECTIVES)))
    values = torch.zeros(len(numbers), len(ATTRIBUTES), dtype=torch.int64)
    values[:, [COLUMNS[name] for name in ("category", "variant", "posture", "perspective")]] = numbers
    return values.to(device)


@cache
def _bank(radius: float, device: torch.device) -> Tensor:
    """Outlines of all shapes in all sizes around a radius, in the middle, at half resolution. [108*5,4096]."""
    shapes, parts = _shapes(device), list[Tensor]()
    for size in SIZES:
        pose = torch.tensor([SIZE / 2, SIZE / 2, radius * size], device=device).expand(len(shapes), 3)
        parts.append(F.avg_pool2d((Posed(shapes, pose).cover > 0.5).float()[:, None], 2)[:, 0].flatten(1))
    return torch.stack(parts, 1).flatten(0, 1)


def _shifted(masks_: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """Move each mask by whole pixels, filling with nothing. masks [n,H,W], shifts [n,S] -> [n,S,H,W]."""
    height, width = masks_.shape[-2:]
    row = torch.arange(height, device=masks_.device) - down[..., None]
    column = torch.arange(width, device=masks_.device) - across[..., None]
    inside = ((row >= 0) & (row < height))[..., None] & ((column >= 0) & (column < width))[..., None, :]
    index = row.clamp(0, height - 1)[..., None] * width + column.clamp(0, width - 1)[..., None, :]
    moved = masks_.flatten(1)[:, None].expand(-1, index.shape[1], -1).gather(2, index.flatten(2))
    return moved.view(index.shape) * inside


def painted(images: Tensor, table: Table) -> tuple[Tensor, Tensor]:
    """Where images [B,3,128,128] in [0, 1] differ from their ground, and the light that fits. [B,128,128] bool, [B]."""
    lights = range(len(UNPROMPTED["illumination"]))
    differences = []
    for light in lights:
        values = table.values.clone()
        values[..., COLUMNS["illumination"]] = light
        differences.append((images * 255 - grounds(Table(values, table.jitter))).abs().sum(1))
    stacked = torch.stack(differences, 1)
    light = stacked.clamp(max=DIFFERENT).mean((2, 3)).argmin(1)
    return stacked[torch.arange(len(images), device=images.device), light] > DIFFERENT, light


def _grid(reach: int, device: torch.device) -> Tensor:
    line = torch.arange(-reach, reach + 1, device=device)
    return torch.cartesian_prod(line, line)


def _overlap(shown: Tensor, bank: Tensor) -> Tensor:
    """Intersection over union. shown [...,S,P], bank [...,K,P] -> [...,S,K]."""
    both = shown @ bank.transpose(-1, -2)
    return both / (shown.sum(-1)[..., None] + bank.sum(-1)[..., None, :] - both).clamp_min(1e-6)


def outlines(images: Tensor, table: Table) -> Outlines:
    """Find the outlines of all subjects in images [B,3,128,128] in [0, 1] of the scenes that were asked for."""
    rows, slots = torch.nonzero(table.present, as_tuple=True)
    seen, light = painted(images, table)
    shown = seen[rows] & (masks(boxes_of(table, rows, slots))[:, 0] > 0)
    poses, sizes = placements(table)[rows, slots], table.column("size")[rows, slots]
    number, at_once = len(rows), TOGETHER if images.device.type == "cpu" else TOGETHER_ON_GPU
    iou = torch.empty(number, CATEGORIES, device=images.device)
    values = torch.empty(number, CATEGORIES, len(ATTRIBUTES), dtype=torch.int64, device=images.device)
    found = torch.empty(number, CATEGORIES, 3, device=images.device)
    for radius in poses[:, 2].unique().tolist():
        for some in torch.nonzero(poses[:, 2] == radius)[:, 0].split(at_once):
            subjects = shown[some].float(), poses[some, :2], light[rows[some]], sizes[some]
            iou[some], values[some], found[some] = _nearest(radius, *subjects)
    return Outlines(rows, slots, table.column("category")[rows, slots], iou, values, found, shown)


def _nearest(
    radius: float, shown: Tensor, places: Tensor, light: Tensor, size: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The best outline of every category for masks [n,128,128] of subjects that were asked for at one radius.

    places [n,2], light and size [n] -> overlaps [n,6], attributes [n,6,A], poses [n,6,3].
    """
    device, count = shown.device, len(shown)
    bank, shifts = _bank(radius, device), _grid(NEAR, device)
    home = ((SIZE / 2 - places) / 2).round().long()
    half = F.avg_pool2d(shown[:, None], 2)[:, 0]
    moved = _shifted(half, home[:, :1] + shifts[:, 0], home[:, 1:] + shifts[:, 1]).flatten(2)
    overlap = _overlap(moved, bank).view(count, len(shifts), CATEGORIES, -1)
    choice = overlap.amax(1).argmax(2)
    own = choice[:, None, :, None].expand(-1, len(shifts), -1, -1)
    where = overlap.gather(3, own)[..., 0].argmax(1)
    number = choice + torch.arange(CATEGORIES, device=device) * overlap.shape[3]
    values = _shapes(device)[number // len(SIZES)]
    values[..., COLUMNS["illumination"]], values[..., COLUMNS["size"]] = light[:, None], size[:, None]
    scale = torch.tensor(SIZES, device=device)[number % len(SIZES)]
    centre = SIZE / 2 - 2 * (home[:, None] + shifts[where]).float()
    return _refined(shown, values, torch.cat([centre, (radius * scale)[..., None]], 2))


def _refined(shown: Tensor, values: Tensor, poses: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same outlines [n,6,A], their size and place sought more finely around poses [n,6,3]."""
    device, count = shown.device, len(shown)
    sizes, shifts = torch.tensor(FINER_SIZES, device=device), _grid(FINER, device)
    tried = poses[:, :, None].repeat(1, 1, len(sizes), 1)
    tried[..., 2] *= sizes
    posed = Posed(values.repeat_interleave(len(sizes), 1).flatten(0, 1), tried.flatten(0, 2))
    bank = (posed.cover > 0.5).float().view(count, -1, SIZE * SIZE)
    across, down = (shifts[:, axis].expand(count, -1) for axis in (0, 1))
    overlap = _overlap(_shifted(shown, across, down).flatten(2), bank)
    overlap = overlap.view(count, len(shifts), CATEGORIES, len(sizes)).transpose(1, 2).flatten(2)
    best, where = overlap.max(2)
    chosen = poses.clone()
    chosen[..., :2] -= shifts[where // len(sizes)].float()
    chosen[..., 2] *= sizes[where % len(sizes)]
    return best, values, chosen


def agreement(images: Tensor, found: Outlines, read: Tensor) -> Tensor:
    """PSNR in dB, inside what is painted, between images and the renderer's picture of what was read. [n].

    Attributes `read` [n,A] say colours, texture and emblem; form and pose are those of the nearest outline.
    """
    own = torch.arange(len(found.rows), device=images.device)
    values = found.values[own, found.category].clone()
    for name in ("main", "second", "texture", "emblem"):
        values[:, COLUMNS[name]] = read[:, COLUMNS[name]]
    posed = Posed(values, found.poses[own, found.category])
    inside = (found.painted & (posed.cover > 0.5))[:, None].float()
    error = ((images[found.rows] - posed.fill() / 255).square() * inside).sum((1, 2, 3))
    mean = error / (3 * inside.sum((1, 2, 3))).clamp_min(1)
    return -10 * mean.clamp_min(1e-6).log10()
