"""Other views of images, for towers that learn from pairs of them: parts, other colours, and what is left without detail.

All take images [B,3,128,128] in [-1, 1] and give back the same shape.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

SMALLEST = 0.6
"""The side of the smallest crop."""
BLURS = {16: 0.5, 8: 0.4}
"""How often pixels are averaged over squares of so many: texture and emblem go, silhouettes stay; the rest stays sharp."""


class Crop(NamedTuple):
    """Parts of images, and where they lie: half their side [B,1] and their middle [B,2] (x, y), both in [-1, 1]."""

    images: Tensor
    side: Tensor
    centre: Tensor

    def patches(self, chosen: Tensor, grid: int) -> Tensor:
        """Patches of the whole images in which the middles of the crops' `chosen` patches lie. [B,K] -> [B,K]."""
        place = torch.stack([chosen % grid, chosen // grid], -1)
        inside = (place + 0.5) / grid * 2 - 1
        column, row = (
            ((inside * self.side[:, None] + self.centre[:, None] + 1) / 2 * grid).long().clamp(0, grid - 1).unbind(-1)
        )
        return row * grid + column


def augment(images: Tensor) -> Tensor:
    """A little noise and a little gain."""
    size = (len(images), 1, 1, 1)
    shown = images / 2 + 0.5
    gain = 1 + 0.05 * torch.randn(size, device=images.device)
    strength = 0.04 * torch.rand(size, device=images.device)
    return (shown * gain + strength * torch.randn_like(shown)).clamp(0, 1) * 2 - 1


def crop(images: Tensor) -> Crop:
    """A part of each image by chance, SMALLEST of its side at least, as large as the image."""
    side = SMALLEST + (1 - SMALLEST) * torch.rand(len(images), 1, device=images.device)
    centre = (1 - side) * (2 * torch.rand(len(images), 2, device=images.device) - 1)
    frame = torch.diag_embed(side.expand(-1, 2))
    window = F.affine_grid(torch.cat([frame, centre[..., None]], 2), list(images.shape), align_corners=False)
    return Crop(F.grid_sample(images, window, padding_mode="border", align_corners=False), side, centre)


def tint(images: Tensor, share: float) -> Tensor:
    """Hue turned by chance and saturation drawn anew, of a share of the images; what is grey stays."""
    device = images.device
    angle = 2 * torch.pi * torch.rand(len(images), 1, 1, device=device)
    grey = torch.full((3, 3), 1 / 3, device=device)
    own = torch.eye(3, device=device)
    across = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]], device=device) / 3**0.5
    turned = torch.cos(angle) * (own - grey) + torch.sin(angle) * across
    mixed = grey + 1.3 * torch.rand(len(images), 1, 1, device=device) * turned
    mixed = torch.where(torch.rand(len(images), 1, 1, device=device) < share, mixed, own)
    return torch.einsum("nij,njhw->nihw", mixed, images).clamp(-1, 1)


def blur(images: Tensor) -> Tensor:
    """Detail averaged away, by chance in several degrees (`BLURS`)."""
    chance = torch.rand(len(images), 1, 1, 1, device=images.device)
    shown, before = images, 0.0
    for size, share in BLURS.items():
        coarse = F.interpolate(F.avg_pool2d(images, size), scale_factor=size, mode="bilinear")
        shown = torch.where((chance >= before) & (chance < before + share), coarse, shown)
        before += share
    return shown
