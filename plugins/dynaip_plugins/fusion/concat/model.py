"""Channel-wise concatenation: ``z = MLP([LN F_low; LN F_mid; LN F_high])`` (ours, the plain baseline)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from dynaip.contracts import FeatureFusion, FusedReference

from ..config import FusionConfig
from ..layers import MLP, level_norms, output_norm, refuse_coefficients


class ConcatFusion(FeatureFusion):
    """All levels in one wide vector a patch."""

    def __init__(
        self, config: FusionConfig, *, widths: Mapping[str, int], dim: int, condition_dim: int | None = None
    ) -> None:
        super().__init__()
        self.levels = tuple(widths)
        self.norms = level_norms(widths)
        self.mlp = MLP(sum(widths.values()), config.hidden or dim, dim)
        self.output_norm = output_norm(config.output_norm, dim)

    def forward(
        self,
        levels: Mapping[str, Tensor],
        *,
        coefficients: Mapping[str, float] | None = None,
        condition: Tensor | None = None,
    ) -> FusedReference:
        """Concatenate levels (each B x N x C_l) along channels and map them to B x N x D."""
        refuse_coefficients("concat", coefficients, self.levels)
        joined = torch.cat([self.norms[level](levels[level]) for level in self.levels], dim=-1)
        return FusedReference(self.output_norm(self.mlp(joined)))
