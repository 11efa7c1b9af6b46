"""The image branch alone, as the usual IP-Adapter."""

from __future__ import annotations

from dynaip.contracts import BranchWeights

from ..constant import ConstantPolicy
from .config import ImageOnlyConfig


class ImageOnlyPolicy(ConstantPolicy):
    """The image branch alone, as the usual IP-Adapter."""

    training = BranchWeights(image=1.0, text=0.0)
    inference = BranchWeights(image=1.0, text=0.0)

    def __init__(self, config: ImageOnlyConfig) -> None:
        self.config = config
