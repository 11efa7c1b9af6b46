"""Reference attention: keys and values per block and branch, and the term that is added to a branch.

``out_b <- out_b + g_b * sum_r s_r M_r (.) softmax(q_b K_b,i(z_r)^T / sqrt(d/H)) V_b,i(z_r)`` (docs/method.md, "Reference
attention"; the form of the equation is ours, the injection by cross attention the paper's, fig. 3).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dynaip.contracts import Branch

BRANCHES: tuple[Branch, ...] = ("image", "text")


class KeyValue(nn.Module):
    """The pair K_b,i, V_b,i: reference tokens (B x M x D) to keys and values (B x H x M x d/H).

    V starts at zero, so that the adapter begins as the base; K does not, so that it learns from the first step on.
    """

    def __init__(self, token_width: int, width: int, heads: int, *, bias: bool, key_norm: bool) -> None:
        super().__init__()
        self.heads = heads
        self.to_k = nn.Linear(token_width, width, bias=bias)
        self.to_v = nn.Linear(token_width, width, bias=bias)
        self.norm_k = nn.RMSNorm(width // heads, eps=1e-6) if key_norm else nn.Identity()
        nn.init.zeros_(self.to_v.weight)
        if bias:
            nn.init.zeros_(self.to_v.bias)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Project tokens (B x M x D) to keys and values, each B x H x M x d/H."""
        key = self.norm_k(self.to_k(tokens).unflatten(-1, (self.heads, -1)))
        value = self.to_v(tokens).unflatten(-1, (self.heads, -1))
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
    ) -> None:
        super().__init__()
        self.share_branches = share_branches

        def pairs() -> nn.ModuleList:
            return nn.ModuleList(
                KeyValue(token_width, width, heads, bias=bias, key_norm=key_norm) for _ in range(blocks)
            )

        self.branches = nn.ModuleDict({name: pairs() for name in (["shared"] if share_branches else sorted(branches))})

    def pair(self, branch: Branch, place: int) -> KeyValue:
        """Give K, V of one branch in the ``place``-th chosen block."""
        pairs = cast(nn.ModuleList, self.branches["shared" if self.share_branches else branch])
        return cast(KeyValue, pairs[place])

    def parameters_of(self, branches: Iterable[Branch]) -> list[nn.Parameter]:
        """List the parameters that serve these branches."""
        names = {"shared" if self.share_branches else branch for branch in branches}
        return [parameter for name in sorted(names) for parameter in self.branches[name].parameters()]


@dataclass
class Slot:
    """The k-th reference of every sample that has one: their tokens, scales and regions, row by row.

    ``rows`` are places in the list of samples; ``regions`` are M_r on the pass's grid, None for 1 everywhere.
    """

    rows: list[int]
    tokens: Tensor
    """P x M x D, one row for each of ``rows``."""
    scales: Tensor
    """P."""
    regions: list[Tensor | None]


@dataclass(frozen=True)
class Group:
    """Rows of a slot that look from the same image tokens: they go through one attention call."""

    members: list[int]
    """Positions within the slot."""
    index: Tensor | None
    """Image tokens that the region holds; None for all of them."""
    weights: list[Tensor | None]
    """Per member: M_r at ``index``; None for 1."""


def grouped(regions: Sequence[Tensor | None]) -> list[Group]:
    """Sort rows by the set of tokens that their regions hold, so that attention runs for these queries alone."""
    groups: dict[bytes | None, list[int]] = {}
    for member, region in enumerate(regions):
        inside = None if region is None else (region > 0)
        whole = inside is None or bool(inside.all())
        groups.setdefault(None if whole else cast(Tensor, inside).numpy().tobytes(), []).append(member)
    return [_group(members, regions, whole=key is None) for key, members in groups.items()]


def _group(members: list[int], regions: Sequence[Tensor | None], *, whole: bool) -> Group:
    first = regions[members[0]]
    index = None if whole or first is None else (first > 0).nonzero().flatten()
    weights = [regions[member] if index is None else cast(Tensor, regions[member])[index] for member in members]
    return Group(members, index, weights)


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(q K^T / sqrt(d/H)) V with one softmax over the tokens of one reference; B x H x T x d/H.

    On a CPU that needs gradients two matrix products are several times as fast as the fused kernel's backward pass.
    """
    if query.device.type == "cpu" and torch.is_grad_enabled():
        weights = (query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5).softmax(dim=-1)
        return weights.to(value.dtype) @ value
    return F.scaled_dot_product_attention(query, key, value)


def merge_heads(heads: Tensor) -> Tensor:
    """B x H x T x d/H to B x T x d."""
    return heads.transpose(1, 2).flatten(2)
