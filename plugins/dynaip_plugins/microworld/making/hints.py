"""Hints for the base's training: what each image token should know about the scene.

A linear head on the image tokens between the double and the single blocks predicts the attributes of the subject
that covers a token, and the background. Where noise hides the image, only the prompt can tell: so tokens learn early
to look up their words, long before the squared error would teach it. The head is not part of the pipeline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models.flux import GRID
from ..world.render import owners
from ..world.table import Table
from ..world.vocabulary import ATTRIBUTES

NOWHERE = -100


@dataclass(frozen=True, slots=True)
class Hints:
    """Attributes of every subject [N,4,A] and the subject that covers a token [N,64], -1 for none; int8."""

    attributes: Tensor
    owners: Tensor

    def of(self, rows: Tensor) -> Tensor:
        """Targets per token and attribute; NOWHERE where no subject stands. [B,64,A]."""
        owner = self.owners[rows].long()
        subject = owner.clamp_min(0)[..., None].expand(-1, -1, self.attributes.shape[-1])
        found = self.attributes[rows].long().gather(1, subject)
        return found.masked_fill(owner[..., None] < 0, NOWHERE)


def make_hints(table: Table) -> Hints:
    """Hints for scenes, where their table lies."""
    return Hints(table.values.clamp_min(0).to(torch.int8), owners(table, GRID))


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
        logits = self.linear(self.norm(features.float())).float().split(self.sizes, dim=-1)
        losses = [
            F.cross_entropy(part.flatten(0, 1), targets[..., column].flatten(), ignore_index=NOWHERE)
            for part, column in zip(logits, self.columns, strict=True)
        ]
        return torch.stack(losses).mean()
