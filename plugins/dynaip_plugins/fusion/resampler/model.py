"""A perceiver: M learned queries read the levels through ``depth`` layers (IP-Adapter Plus; the inputs are ours)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dynaip.contracts import FeatureFusion, FusedReference
from dynaip.errors import ConfigError

from ..layers import MLP, level_norms, output_norm, refuse_coefficients
from .config import ResamplerConfig


class PerceiverLayer(nn.Module):
    """Queries attend to [inputs; queries], then an MLP, both residual."""

    def __init__(self, dim: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm_inputs, self.norm_queries, self.norm_mlp = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, heads, bias=False, batch_first=True)
        self.mlp = MLP(dim, hidden, dim)

    def forward(self, queries: Tensor, inputs: Tensor) -> Tensor:
        """Update queries (B x M x D) from inputs (B x N x D)."""
        asked = self.norm_queries(queries)
        seen = torch.cat([self.norm_inputs(inputs), asked], dim=1)
        queries = queries + self.attention(asked, seen, seen, need_weights=False)[0]
        return queries + self.mlp(self.norm_mlp(queries))


class ResamplerFusion(FeatureFusion):
    """A fixed number of tokens, whatever the encoder's grid."""

    def __init__(
        self, config: ResamplerConfig, *, widths: Mapping[str, int], dim: int, condition_dim: int | None = None
    ) -> None:
        super().__init__()
        if dim % config.heads:
            raise ConfigError(f"fusion.heads: {config.heads} does not divide adapter.token_width {dim}")
        self.levels = tuple(widths)
        self.norms = level_norms(widths)
        self.projection = nn.Linear(sum(widths.values()), dim)
        self.queries = nn.Parameter(torch.randn(1, config.queries, dim) / dim**0.5)
        hidden = config.hidden or 4 * dim
        self.layers = nn.ModuleList(PerceiverLayer(dim, config.heads, hidden) for _ in range(config.depth))
        self.output_norm = output_norm(config.output_norm, dim)

    def forward(
        self,
        levels: Mapping[str, Tensor],
        *,
        coefficients: Mapping[str, float] | None = None,
        condition: Tensor | None = None,
    ) -> FusedReference:
        """Read levels (each B x N x C_l) into M query tokens, B x M x D."""
        refuse_coefficients("resampler", coefficients, self.levels)
        inputs = self.projection(torch.cat([self.norms[level](levels[level]) for level in self.levels], dim=-1))
        queries = self.queries.expand(len(inputs), -1, -1)
        for layer in self.layers:
            queries = layer(queries, inputs)
        return FusedReference(self.output_norm(queries))
