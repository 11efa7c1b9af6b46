"""Training-time interaction kept at inference: both branches, always (open question 4)."""

from __future__ import annotations

from dynaip.contracts import BranchWeights

from ..constant import ConstantPolicy
from .config import CoupledConfig


class CoupledPolicy(ConstantPolicy):
    """Training-time interaction kept at inference: both branches, always (open question 4)."""

    training = BranchWeights(image=1.0, text=1.0)
    inference = BranchWeights(image=1.0, text=1.0)

    def __init__(self, config: CoupledConfig) -> None:
        self.config = config
