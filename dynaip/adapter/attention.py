"""Reference attention: keys and values per block and branch, and the term that is added to a branch.

``out_b <- out_b + g_b * sum_r s_r M_r (.) softmax(q_b K_b,i(z_r)^T / sqrt(d/H)) V_b,i(z_r)`` (docs/concepts/method.md, "Reference
attention"; the form of the equation is ours, the injection by cross attention the paper's, fig. 3).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dynaip.adapter.backends import dispatched
from dynaip.contracts import Branch

BRANCHES: tuple[Branch, ...] = ("image", "text")


class KeyValue(nn.Module):
    """The pair K_b,i, V_b,i: reference tokens (B x M x D) to keys and values (B x H x M x d/H).

    V starts at zero, so that the adapter begins as the base; K does not, so that it learns from the first step on.
    """

    def __init__(
        self, token_width: int, width: int, heads: int, *, bias: bool, key_norm: bool, key_norm_eps: float = 1e-6
    ) -> None:
        super().__init__()
        self.heads = heads
        self.to_k = nn.Linear(token_width, width, bias=bias)
        self.to_v = nn.Linear(token_width, width, bias=bias)
        self.norm_k = nn.RMSNorm(width // heads, eps=key_norm_eps) if key_norm else nn.Identity()
        nn.init.zeros_(self.to_v.weight)
        if bias:
            nn.init.zeros_(self.to_v.bias)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Project tokens (B x M x D) to keys and values, each B x H x M x d/H."""
        return self.split(self.to_k(tokens), self.to_v(tokens))

    def split(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Split projected tokens (B x M x d each) into heads, and normalise the keys: each B x H x M x d/H."""
        key = self.norm_k(key.unflatten(-1, (self.heads, -1)))
        value = value.unflatten(-1, (self.heads, -1))
        return key.transpose(1, 2), value.transpose(1, 2)


class ReferenceAttention(nn.Module):
    """All pairs K, V of an adapter, by branch and by the block's place in the list of chosen blocks."""

    def __init__(
        self,
        blocks: int,
        *,
        token_width: int,
        width: int,
        heads: int,
        branches: Iterable[Branch] = BRANCHES,
        share_branches: bool = False,
        bias: bool = False,
        key_norm: bool = False,
        key_norm_eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.share_branches = share_branches

        def pairs() -> nn.ModuleList:
            return nn.ModuleList(
                KeyValue(token_width, width, heads, bias=bias, key_norm=key_norm, key_norm_eps=key_norm_eps)
                for _ in range(blocks)
            )

        self.branches = nn.ModuleDict({name: pairs() for name in (["shared"] if share_branches else sorted(branches))})

    def name(self, branch: Branch) -> str:
        """Name the pairs that serve a branch."""
        return "shared" if self.share_branches else branch

    def serves(self, branch: Branch) -> bool:
        """Whether there are keys and values for a branch."""
        return self.name(branch) in self.branches

    def pair(self, branch: Branch, place: int) -> KeyValue:
        """Give K, V of one branch in the ``place``-th chosen block."""
        pairs = cast(nn.ModuleList, self.branches[self.name(branch)])
        return cast(KeyValue, pairs[place])

    def parameters_of(self, branches: Iterable[Branch]) -> list[nn.Parameter]:
        """List the parameters that serve these branches."""
        names = {self.name(branch) for branch in branches}
        return [parameter for name in sorted(names) for parameter in self.branches[name].parameters()]


def attend(query: Tensor, key: Tensor, value: Tensor, backend: str | None = None) -> Tensor:
    """softmax(q K^T / sqrt(d/H)) V with one softmax over the tokens of one reference; B x H x T x d/H.

    ``backend`` names one of diffusers' attention backends; None is torch's own. On a CPU that needs gradients two matrix
    products are several times as fast as the fused kernel's backward pass.
    """
    if backend is not None:
        return dispatched(query, key, value, backend)
    if query.device.type == "cpu" and torch.is_grad_enabled():
        weights = (query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5).softmax(dim=-1)
        return weights.to(value.dtype) @ value
    return F.scaled_dot_product_attention(query, key, value)


def split_heads(states: Tensor, heads: int, layout: Literal["BTHd", "BHTd"]) -> Tensor:
    """Queries or keys as a block makes them (B x T x d where it has no norm) to B x H x T x d/H."""
    if states.ndim == 3:
        return states.unflatten(-1, (heads, -1)).transpose(1, 2)
    return states if layout == "BHTd" else states.transpose(1, 2)


def merge_heads(heads: Tensor) -> Tensor:
    """B x H x T x d/H to B x T x d."""
    return heads.transpose(1, 2).flatten(2)
