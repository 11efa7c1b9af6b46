"""A policy whose text branch fades out while the image appears."""

from __future__ import annotations

from dynaip.contracts import Branch, BranchWeights, DecouplingPolicy, Phase

from .config import FadedConfig


class FadedPolicy(DecouplingPolicy):
    """Both branches in training; at inference the text branch falls from 1 to 0 until `until`."""

    def __init__(self, config: FadedConfig) -> None:
        self.config = config

    def weights(self, phase: Phase, *, block: int, blocks: int, progress: float) -> BranchWeights:
        """Weights of both branches; exactly 0 closes a branch at no cost."""
        if phase == "training":
            return BranchWeights(image=1.0, text=1.0)
        return BranchWeights(image=1.0, text=max(0.0, 1 - progress / self.config.until))

    def branches(self, phase: Phase) -> frozenset[Branch]:
        """Both branches are open at some point."""
        return frozenset(("image", "text"))
