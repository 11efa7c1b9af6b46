"""One pair of weights a phase, whatever block and progress are."""

from __future__ import annotations

from dynaip.contracts import Branch, BranchWeights, DecouplingPolicy, Phase

from ..open_branches import open_branches
from .config import ConstantConfig


class ConstantPolicy(DecouplingPolicy):
    """The weights that its config names for the phase."""

    def __init__(self, config: ConstantConfig) -> None:
        self.config = config

    def weights(self, phase: Phase, *, block: int, blocks: int, progress: float) -> BranchWeights:
        """Give the phase's weights, whatever block and progress are."""
        return BranchWeights(*(self.config.training if phase == "training" else self.config.inference))

    def branches(self, phase: Phase) -> frozenset[Branch]:
        """Branches whose weight is not zero."""
        return open_branches(self.weights(phase, block=0, blocks=1, progress=0.0))
