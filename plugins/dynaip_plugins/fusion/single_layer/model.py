"""One level alone: ``z = MLP(LN F_l)``, what its granularity holds (fig. 4 right; the MLP is ours)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from dynaip.contracts import FeatureFusion, FusedReference

from ..layers import MLP, chosen_level, level_norms, output_norm, refuse_coefficients
from .config import SingleLayerConfig


class SingleLayerFusion(FeatureFusion):
    """The usual IP-Adapter's input: one layer of the encoder."""

    def __init__(
        self, config: SingleLayerConfig, *, widths: Mapping[str, int], dim: int, condition_dim: int | None = None
    ) -> None:
        super().__init__()
        self.levels = tuple(widths)
        self.level = chosen_level(config.level, self.levels)
        self.norms = level_norms({self.level: widths[self.level]})
        self.mlp = MLP(widths[self.level], config.hidden or dim, dim)
        self.output_norm = output_norm(config.output_norm, dim)

    def forward(
        self,
        levels: Mapping[str, Tensor],
        *,
        coefficients: Mapping[str, float] | None = None,
        condition: Tensor | None = None,
    ) -> FusedReference:
        """Map one level (B x N x C_l) to B x N x D."""
        refuse_coefficients("single_layer", coefficients, self.levels)
        return FusedReference(self.output_norm(self.mlp(self.norms[self.level](levels[self.level]))))
