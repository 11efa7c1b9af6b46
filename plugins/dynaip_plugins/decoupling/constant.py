"""Policies whose weights are the same in every block and at every step."""

from __future__ import annotations

from typing import ClassVar

from dynaip.contracts import Branch, BranchWeights, DecouplingPolicy, Phase


class ConstantPolicy(DecouplingPolicy):
    """One pair of weights a phase."""

    training: ClassVar[BranchWeights]
    inference: ClassVar[BranchWeights]

    def weights(self, phase: Phase, *, block: int, blocks: int, progress: float) -> BranchWeights:
        """Give the phase's weights, whatever block and progress are."""
        return self.training if phase == "training" else self.inference

    def branches(self, phase: Phase) -> frozenset[Branch]:
        """Branches whose weight is not zero."""
        return open_branches(self.weights(phase, block=0, blocks=1, progress=0.0))


def open_branches(weights: BranchWeights) -> frozenset[Branch]:
    """Branches whose weight is not zero."""
    pairs: tuple[tuple[Branch, float], ...] = (("image", weights.image), ("text", weights.text))
    return frozenset(branch for branch, weight in pairs if weight != 0)
