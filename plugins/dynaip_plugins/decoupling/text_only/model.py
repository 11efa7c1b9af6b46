"""The text branch alone: what it learns by itself, or what it carries in an adapter of both branches."""

from __future__ import annotations

from dynaip.contracts import BranchWeights

from ..constant import ConstantPolicy
from .config import TextOnlyConfig


class TextOnlyPolicy(ConstantPolicy):
    """The text branch alone: what it learns by itself, or what it carries in an adapter of both branches."""

    training = BranchWeights(image=0.0, text=1.0)
    inference = BranchWeights(image=0.0, text=1.0)

    def __init__(self, config: TextOnlyConfig) -> None:
        self.config = config
