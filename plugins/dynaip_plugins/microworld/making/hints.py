"""Hints for the base's training: what each image token should know about the scene.

A linear head on the image tokens between the double and the single blocks predicts the attributes of the subject
that covers a token, and the background. Where noise hides the image, only the prompt can tell: so tokens learn early
to look up their words, long before the squared error would teach it. The head is not part of the pipeline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models.flux import GRID
from ..world.render import SIZE, placements
from ..world.scenes import Scene, labels
from ..world.vocabulary import ATTRIBUTES

NOBODY = -100


@dataclass(frozen=True, slots=True)
class Hints:
    """Attributes of every subject [N,4,A] and the subject that covers a token [N,64], -1 for none; int8."""

    attributes: Tensor
    owners: Tensor

    def of(self, rows: Tensor) -> Tensor:
        """Targets per token and attribute; NOBODY where no subject stands. [B,64,A]."""
        owner = self.owners[rows].long()
        subject = owner.clamp_min(0)[..., None].expand(-1, -1, self.attributes.shape[-1])
        found = self.attributes[rows].long().gather(1, subject)
        return found.masked_fill(owner[..., None] < 0, NOBODY)


def owners(scenes: Sequence[Scene]) -> Tensor:
    """Which subject covers the middle of each 8 x 8 pixels. [N,64] int8."""
    y, x = (np.mgrid[0:GRID, 0:GRID] + 0.5) * SIZE / GRID
    found = np.full((len(scenes), GRID, GRID), -1, np.int8)
    for row, scene in enumerate(scenes):
        for k, place in enumerate(placements(scene)):
            found[row][np.hypot(x - place.x, y - place.y) < place.radius] = k
    return torch.from_numpy(found).flatten(1)


def make_hints(scenes: Sequence[Scene]) -> Hints:
    """Hints for scenes."""
    table = torch.zeros(len(scenes), 4, len(ATTRIBUTES), dtype=torch.int8)
    for row, scene in enumerate(scenes):
        for k in range(len(scene.subjects)):
            found = labels(scene, k)
            table[row, k] = torch.tensor([found[name] for name in ATTRIBUTES], dtype=torch.int8)
    return Hints(table, owners(scenes))


class HintHead(nn.Module):
    """Image tokens to logits of attributes, all of them by default."""

    def __init__(self, width: int, names: Sequence[str] = tuple(ATTRIBUTES)) -> None:
        super().__init__()
        self.columns = [list(ATTRIBUTES).index(name) for name in names]
        self.sizes = [len(ATTRIBUTES[name]) for name in names]
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, sum(self.sizes))

    def forward(self, features: Tensor, targets: Tensor) -> Tensor:
        """Mean cross entropy over attributes and covered tokens. features [B,T,d], targets [B,T,all attributes]."""
        logits = self.linear(self.norm(features.float())).split(self.sizes, dim=-1)
        losses = [
            F.cross_entropy(part.flatten(0, 1), targets[..., column].flatten(), ignore_index=NOBODY)
            for part, column in zip(logits, self.columns, strict=True)
        ]
        return torch.stack(losses).mean()
