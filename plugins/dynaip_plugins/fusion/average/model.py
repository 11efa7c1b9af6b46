"""Mean of the projected levels: ``z = (1/L) sum_l E_l(LN F_l)``: hmoe without a router (ours)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dynaip.contracts import FeatureFusion, FusedReference

from ..config import FusionConfig
from ..layers import MLP, coefficient_values, level_norms, output_norm, steered


class AverageFusion(FeatureFusion):
    """Every level counts the same, unless the user's coefficients say otherwise."""

    def __init__(
        self, config: FusionConfig, *, widths: Mapping[str, int], dim: int, condition_dim: int | None = None
    ) -> None:
        super().__init__()
        self.levels = tuple(widths)
        self.norms = level_norms(widths)
        self.experts = nn.ModuleDict({level: MLP(width, config.hidden or dim, dim) for level, width in widths.items()})
        self.output_norm = output_norm(config.output_norm, dim)

    def forward(
        self,
        levels: Mapping[str, Tensor],
        *,
        coefficients: Mapping[str, float] | None = None,
        condition: Tensor | None = None,
    ) -> FusedReference:
        """Project levels (each B x N x C_l) and take their mean, B x N x D."""
        projected = [self.experts[level](self.norms[level](levels[level])) for level in self.levels]
        exact = torch.promote_types(projected[0].dtype, torch.float32)
        equal = torch.full((len(self.levels),), 1 / len(self.levels), device=projected[0].device, dtype=exact)
        weights = steered(equal, coefficient_values(coefficients, self.levels))
        mixed = (torch.stack(projected, dim=-1) * weights).sum(dim=-1).to(projected[0].dtype)
        return FusedReference(self.output_norm(mixed))
