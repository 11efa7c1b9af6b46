"""A fusion strategy with one learned gate a level: ``z = sum_l softmax(a)_l MLP_l(LN F_l)``."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dynaip.contracts import FeatureFusion, FusedReference
from dynaip.errors import InputError

from .config import GatedConfig


class GatedFusion(FeatureFusion):
    """Levels weighed by gates that are the same for all images and tokens."""

    def __init__(
        self, config: GatedConfig, *, widths: Mapping[str, int], dim: int, condition_dim: int | None = None
    ) -> None:
        super().__init__()
        hidden = config.hidden or dim
        self.levels = tuple(widths)
        self.experts = nn.ModuleDict({level: expert(width, hidden, dim) for level, width in widths.items()})
        self.gates = nn.Parameter(torch.zeros(len(widths)))

    def forward(
        self,
        levels: Mapping[str, Tensor],
        *,
        coefficients: Mapping[str, float] | None = None,
        condition: Tensor | None = None,
    ) -> FusedReference:
        """Weigh and add levels (each B x N x C_l) into tokens B x N x D; the weights are B x N x L."""
        gamma = torch.tensor([float((coefficients or {}).get(level, 1.0)) for level in self.levels])
        if not gamma.any():
            raise InputError(
                f"granularity: all of {', '.join(self.levels)} are 0; give at least one level a value above 0"
            )
        weights = self.gates.softmax(dim=0) * gamma.to(self.gates)
        weights = weights / weights.sum()
        parts = [
            weight * self.experts[level](levels[level]) for weight, level in zip(weights, self.levels, strict=True)
        ]
        tokens = torch.stack(parts).sum(dim=0)
        return FusedReference(tokens, weights.expand(*tokens.shape[:2], -1))


def expert(width: int, hidden: int, dim: int) -> nn.Sequential:
    """Normalise a level and map it to the tokens' width."""
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, dim))
