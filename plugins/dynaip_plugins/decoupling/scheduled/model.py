"""Weights as curves over denoising progress and block index (beyond the paper, ours)."""

from __future__ import annotations

from itertools import pairwise

from dynaip.contracts import Branch, BranchWeights, DecouplingPolicy, Phase

from ..open_branches import open_branches
from .config import BranchCurves, Curve, ScheduledConfig


class ScheduledPolicy(DecouplingPolicy):
    """Training weights as given; at inference the product of two curves a branch."""

    def __init__(self, config: ScheduledConfig) -> None:
        self.config = config

    def weights(self, phase: Phase, *, block: int, blocks: int, progress: float) -> BranchWeights:
        """Read the curves at this progress and this block's relative depth."""
        if phase == "training":
            return BranchWeights(self.config.training.image, self.config.training.text)
        depth = block / (blocks - 1) if blocks > 1 else 0.0
        return BranchWeights(at(self.config.image, progress, depth), at(self.config.text, progress, depth))

    def branches(self, phase: Phase) -> frozenset[Branch]:
        """Branches that are open anywhere."""
        if phase == "training":
            return open_branches(self.weights("training", block=0, blocks=1, progress=0.0))
        peak = BranchWeights(_peak(self.config.image), _peak(self.config.text))
        return open_branches(peak)


def at(curves: BranchCurves, progress: float, depth: float) -> float:
    """Weight of a branch at a progress and a relative depth."""
    return read(curves.progress, progress) * read(curves.blocks, depth)


def read(curve: Curve, place: float) -> float:
    """Read a curve: linear between its points, exactly 0 before the first and after the last."""
    if not isinstance(curve, list):
        return float(curve)
    for (left, low), (right, high) in pairwise(curve):
        if left <= place <= right:
            return low + (high - low) * (place - left) / (right - left)
    return float(curve[0][1]) if len(curve) == 1 and curve[0][0] == place else 0.0


def _peak(curves: BranchCurves) -> float:
    return _highest(curves.progress) * _highest(curves.blocks)


def _highest(curve: Curve) -> float:
    return max(weight for _, weight in curve) if isinstance(curve, list) else float(curve)
