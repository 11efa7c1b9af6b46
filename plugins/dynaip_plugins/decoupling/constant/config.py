"""The four numbers of every constant policy, and its options."""

from __future__ import annotations

from typing import Any, ClassVar

from dynaip.config import PolicyConfig


class ConstantConfig(PolicyConfig):
    """Weights of the image and the text branch in each phase."""

    training: ClassVar[tuple[float, float]]
    inference: ClassVar[tuple[float, float]]

    def training_part(self) -> dict[str, Any]:
        """What training sees of the policy: the weights of both branches."""
        return dict(zip(("image", "text"), self.training, strict=True))


class CoupledConfig(ConstantConfig):
    """Training-time interaction kept at inference: both branches, always (open question 4); nothing to set."""

    training, inference = (1.0, 1.0), (1.0, 1.0)


class DynamicConfig(ConstantConfig):
    """Dynamic Decoupling Strategy (the paper's): the text branch only while training; nothing to set."""

    training, inference = (1.0, 1.0), (1.0, 0.0)


class ImageOnlyConfig(ConstantConfig):
    """The image branch alone, as the usual IP-Adapter; nothing to set."""

    training, inference = (1.0, 0.0), (1.0, 0.0)


class TextOnlyConfig(ConstantConfig):
    """The text branch alone: what it learns by itself, or what it carries in an adapter of both branches."""

    training, inference = (0.0, 1.0), (0.0, 1.0)

    shared: bool = True
    """Let an ablation read the text branch of an adapter trained with both branches, instead of training one more."""

    def served_by(self) -> list[dict[str, Any]]:
        """An adapter of both branches holds a text branch too."""
        return [{"image": 1.0, "text": 1.0}] if self.shared else []
