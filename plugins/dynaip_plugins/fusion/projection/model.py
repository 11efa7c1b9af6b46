"""``z = LN(reshape(P f))``: one embedding f becomes M tokens.

The IP-Adapter's image projection, as XLabs (one linear layer) and InstantX (two, with GELU) have it for FLUX.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from dynaip.contracts import FeatureFusion, FusedReference

from ..layers import MLP, chosen_level, refuse_coefficients
from .config import ProjectionConfig


class ProjectionFusion(FeatureFusion):
    """A few tokens from the mean over a level's tokens; an encoder of embeddings has one token alone."""

    def __init__(
        self, config: ProjectionConfig, *, widths: Mapping[str, int], dim: int, condition_dim: int | None = None
    ) -> None:
        super().__init__()
        self.levels = tuple(widths)
        self.level = chosen_level(config.level, self.levels)
        width, self.tokens = widths[self.level], config.tokens
        made = self.tokens * dim
        self.proj = nn.Linear(width, made) if config.hidden is None else MLP(width, config.hidden, made)
        self.norm = nn.LayerNorm(dim)

    def forward(
        self,
        levels: Mapping[str, Tensor],
        *,
        coefficients: Mapping[str, float] | None = None,
        condition: Tensor | None = None,
    ) -> FusedReference:
        """Project one level (B x N x C_l) to B x M x D."""
        refuse_coefficients("projection", coefficients, self.levels)
        embedding = levels[self.level].mean(dim=1)
        return FusedReference(self.norm(self.proj(embedding).unflatten(-1, (self.tokens, -1))))
