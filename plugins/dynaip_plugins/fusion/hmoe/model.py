"""The hierarchical mixture of experts: ``z = P(sum_l w_l E_l(LN F_l))``, ``w = softmax(Router(...) / tau)``.

Experts for low, mid and high levels and a router with weights w_l are the paper's (eq. 7, fig. 4); the experts' form,
the router's inputs, P (a linear layer) and the LayerNorm of the tokens behind it are ours, and so are coefficients that are
drawn in training and the entropy term.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dynaip.contracts import FeatureFusion, FusedReference
from dynaip.errors import ConfigError, InputError

from ..layers import MLP, coefficient_values, drawn_coefficients, level_norms, output_norm, steered
from .config import HMoEConfig


class LevelExpert(nn.Module):
    """E_l: one MLP, or a gated mixture of several."""

    def __init__(self, width: int, hidden: int, dim: int, experts: int) -> None:
        super().__init__()
        self.experts = nn.ModuleList(MLP(width, hidden, dim) for _ in range(experts))
        self.gate = nn.Linear(width, experts) if experts > 1 else None

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor | None]:
        """Map features (B x N x C_l) to B x N x D, and give the gates (B x N x E) if there are several experts."""
        if self.gate is None:
            return self.experts[0](features), None
        gates = self.gate(features).softmax(dim=-1)
        outputs = torch.stack([expert(features) for expert in self.experts], dim=-2)
        return (gates[..., None] * outputs).sum(dim=-2), gates


class HMoEFusion(FeatureFusion):
    """HMoE-FFM: an expert for every level, mixed by a router."""

    def __init__(
        self, config: HMoEConfig, *, widths: Mapping[str, int], dim: int, condition_dim: int | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self.levels = tuple(widths)
        self.uses_condition = config.router == "prompt"
        if self.uses_condition and condition_dim is None:
            raise ConfigError("fusion.router: prompt needs a backbone with a pooled prompt; use token or image")
        hidden = config.hidden or dim
        self.norms = level_norms(widths)
        self.experts = nn.ModuleDict(
            {level: LevelExpert(width, hidden, dim, config.experts_per_level) for level, width in widths.items()}
        )
        inputs = sum(widths.values()) + (condition_dim or 0 if self.uses_condition else 0)
        wide = config.router_hidden
        self.router = MLP(inputs, wide, len(widths)) if wide else nn.Linear(inputs, len(widths))
        self.projection = nn.Linear(dim, dim)
        self.output_norm = output_norm(config.output_norm, dim)

    def forward(
        self,
        levels: Mapping[str, Tensor],
        *,
        coefficients: Mapping[str, float] | None = None,
        condition: Tensor | None = None,
    ) -> FusedReference:
        """Mix the levels' experts; weights are B x N x L (token, prompt) or B x L (image)."""
        gamma = coefficient_values(coefficients, self.levels)
        normed = {level: self.norms[level](levels[level]) for level in self.levels}
        routed = self.route(normed, condition)
        weights = steered(self._met(routed), gamma)
        outputs, gates = zip(*(self.experts[level](normed[level]) for level in self.levels), strict=True)
        per_token = weights if weights.ndim == 3 else weights[:, None, :]
        mixed = (per_token[..., None, :] * torch.stack(outputs, dim=-1)).sum(dim=-1)
        tokens = self.output_norm(self.projection(mixed))
        expert_weights = None if gates[0] is None else torch.stack(gates, dim=-2)
        return FusedReference(tokens, weights, expert_weights, self._extra(routed))

    def route(self, normed: Mapping[str, Tensor], condition: Tensor | None) -> Tensor:
        """w = softmax(Router([LN F_low; LN F_mid; LN F_high]) / tau)."""
        inputs = torch.cat([normed[level] for level in self.levels], dim=-1)
        if self.config.router == "image":
            inputs = inputs.mean(dim=1)
        if self.uses_condition:
            if condition is None:
                raise InputError("the prompt-aware router needs the prompt: fuse(..., condition=pooled prompt)")
            inputs = torch.cat([inputs, condition[:, None].expand(-1, inputs.shape[1], -1).to(inputs)], dim=-1)
        return (self.router(inputs) / self.config.temperature).softmax(dim=-1)

    def _met(self, routed: Tensor) -> Tensor:
        """The routed weights under the coefficients that training draws for some of its references."""
        if not self.training or self.config.coefficient_dropout == 0:
            return routed
        drawn = drawn_coefficients(len(routed), len(self.levels), self.config.coefficient_dropout, routed.device)
        return steered(routed, drawn if routed.ndim == 2 else drawn[:, None])

    def _extra(self, routed: Tensor) -> Tensor | None:
        """The router's own losses, weighted: load balance and entropy; None if both are off."""
        terms = ((self.config.balance_loss, load_balance), (self.config.entropy_loss, missing_entropy))
        flat = routed.reshape(-1, len(self.levels))
        losses = [weight * term(flat) for weight, term in terms if weight]
        return sum(losses[1:], losses[0]) if losses else None


def load_balance(weights: Tensor) -> Tensor:
    """Switch load balance over levels, of weights T x L: L sum_l f_l P_l.

    f_l is the share of tokens whose first choice is l, P_l the mean of w_l.
    """
    levels = weights.shape[-1]
    chosen = nn.functional.one_hot(weights.argmax(dim=-1), levels).to(weights.dtype).mean(dim=0)
    return levels * (chosen * weights.mean(dim=0)).sum()


def missing_entropy(weights: Tensor) -> Tensor:
    """How far weights T x L are from undecided, in nats: the mean of log L - H(w); 0 for equal weights, log L for one level."""
    entropy = torch.special.entr(weights.float()).sum(dim=-1)
    return (math.log(weights.shape[-1]) - entropy).mean()
