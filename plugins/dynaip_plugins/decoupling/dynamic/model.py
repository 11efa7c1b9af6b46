"""Dynamic Decoupling Strategy: both branches in training, the image branch at inference (the paper's)."""

from __future__ import annotations

from dynaip.contracts import BranchWeights

from ..constant import ConstantPolicy
from .config import DynamicConfig


class DynamicPolicy(ConstantPolicy):
    """Dynamic Decoupling Strategy: both branches in training, the image branch at inference (the paper's)."""

    training = BranchWeights(image=1.0, text=1.0)
    inference = BranchWeights(image=1.0, text=0.0)

    def __init__(self, config: DynamicConfig) -> None:
        self.config = config
