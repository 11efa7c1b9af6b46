"""One reference's term: its attention, and where it is added."""

from __future__ import annotations

import torch
from torch import Tensor

from dynaip.adapter.attention import attend, merge_heads
from dynaip.adapter.slots import Gathered, Group


def window(states: Tensor, dim: int, start: int, end: int) -> Tensor:
    """Places ``start`` to ``end`` along ``dim``; ``states`` where that is all: a slice costs its backward pass."""
    length = end - start
    return states if length == states.shape[dim] else states.narrow(dim, start, length)


def reference_term(query: Tensor, key: Tensor, value: Tensor, backend: str | None = None) -> Tensor:
    """``softmax(q K^T / sqrt(d/H)) V`` with heads merged, b x t x d, before any weight."""
    return merge_heads(attend(query, key, value, backend))


def weighed(term: Tensor, weight: float | Tensor) -> Tensor:
    """``term`` (b x t x d) times g_b s_r M_r: one number, or b x t x 1."""
    return term * (weight.to(term) if isinstance(weight, Tensor) else weight)


def weight_of(scale: Tensor, level: float | None, weight: float) -> float | Tensor:
    """g_b s_r M_r as one number where it is one, which costs no product of its own."""
    if level is not None:
        return level * weight
    return scale if weight == 1 else scale * weight


def added(total: Tensor, term: Tensor, weight: float | Tensor, *, in_place: bool = False) -> Tensor:
    """``total + weight (.) term``, all b x t x d; ``in_place`` writes into ``total`` and gives it back."""
    term = term.to(total.dtype)
    if isinstance(weight, Tensor):
        weight = weight.to(total.dtype)
        return total.addcmul_(term, weight) if in_place else torch.addcmul(total, term, weight)
    return total.add_(term, alpha=weight) if in_place else torch.add(total, term, alpha=weight)


def scatter(total: Tensor, term: Tensor, weight: float | Tensor, group: Group, *, in_place: bool = False) -> Tensor:
    """Add ``weight (.) term`` (b x t x d) at the group's rows and tokens of ``total`` (B x T x d)."""
    if group.index is None and group.samples is None:
        return added(total, term, weight, in_place=in_place)
    term = weighed(term, weight).to(total.dtype)
    if group.index is not None:
        whole = term.new_zeros(term.shape[0], total.shape[1], term.shape[2])
        term = whole.index_add(1, group.index.to(total.device), term)
    if group.samples is None:
        return added(total, term, 1.0, in_place=in_place)
    samples = group.samples.to(total.device)
    return total.index_add_(0, samples, term) if in_place else total.index_add(0, samples, term)


def gathered_queries(query: Tensor, call: Gathered) -> Tensor:
    """The queries of a gathered call (G x H x t x d/H) out of all (B x H x T x d/H)."""
    rows = query.transpose(1, 2).flatten(0, 1)  # a view where the block itself keeps tokens before heads
    return rows.index_select(0, call.index.flatten()).unflatten(0, call.index.shape).transpose(1, 2)


def scatter_gathered(
    total: Tensor, term: Tensor, weight: float | Tensor, call: Gathered, *, in_place: bool = False
) -> Tensor:
    """Add ``weight (.) term`` (G x t x d) at the places of a gathered call in ``total`` (B x T x d).

    Every place is written from one token's term: repeated places hold the same value, so nothing depends on an order.
    """
    places = call.index.flatten()
    rows = total.flatten(0, 1)
    mixed = added(rows.index_select(0, places).view_as(term), term, weight, in_place=True).flatten(0, 1)
    if in_place and total.is_contiguous():
        rows.index_copy_(0, places, mixed)
        return total
    whole = rows.index_copy(0, places, mixed).view_as(total)
    return total.copy_(whole) if in_place else whole
