"""Token-wise concatenation: ``z = [E_low(LN F_low) | E_mid(LN F_mid) | E_high(LN F_high)]`` (ours)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dynaip.contracts import FeatureFusion, FusedReference

from ..config import FusionConfig
from ..layers import MLP, level_norms, output_norm, refuse_coefficients


class TokenConcatFusion(FeatureFusion):
    """Every level keeps tokens of its own; the attention chooses among them."""

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
        """Project levels (each B x N x C_l) and put them side by side, B x (L N) x D."""
        refuse_coefficients("token_concat", coefficients, self.levels)
        projected = [self.experts[level](self.norms[level](levels[level])) for level in self.levels]
        return FusedReference(self.output_norm(torch.cat(projected, dim=1)))
