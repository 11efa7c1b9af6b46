"""One reference's term: its keys and values, its attention, and where it is added."""

from __future__ import annotations

from torch import Tensor

from dynaip.adapter.attention import KeyValue, attend, merge_heads
from dynaip.adapter.slots import Group, Slot


def project(pair: KeyValue, slot: Slot, like: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values of a slot (P x H x M x d/H), on the device and in the type of ``like``."""
    if pair.to_k.weight.device != like.device:
        pair.to(like.device)
    key, value = pair(slot.tokens.to(like.device))
    return key.to(like.dtype), value.to(like.dtype)


def reference_term(query: Tensor, key: Tensor, value: Tensor, weight: Tensor, backend: str | None = None) -> Tensor:
    """``weight (.) softmax(q K^T / sqrt(d/H)) V`` with heads merged, b x t x d; ``weight`` is g_b s_r M_r (b x t x 1)."""
    attended = merge_heads(attend(query, key, value, backend))
    return attended * weight.to(attended)


def scatter(total: Tensor, term: Tensor, group: Group) -> Tensor:
    """Add ``term`` (b x t x d) at the group's rows and tokens, out of place."""
    if group.index is not None:
        whole = term.new_zeros(term.shape[0], total.shape[1], term.shape[2])
        term = whole.index_add(1, group.index.to(total.device), term)
    return total + term if group.samples is None else total.index_add(0, group.samples.to(total.device), term)
