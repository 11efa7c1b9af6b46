"""Shared by the policies: which branches a pair of weights leaves open."""

from __future__ import annotations

from dynaip.contracts import Branch, BranchWeights


def open_branches(weights: BranchWeights) -> frozenset[Branch]:
    """Branches whose weight is not zero."""
    pairs: tuple[tuple[Branch, float], ...] = (("image", weights.image), ("text", weights.text))
    return frozenset(branch for branch, weight in pairs if weight != 0)
