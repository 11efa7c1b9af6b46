"""Options of the policy `scheduled`."""

from __future__ import annotations

from typing import Any

from dynaip.config import PolicyConfig
from dynaip.config.components import Strict
from pydantic import Field, NonNegativeFloat, field_validator

Curve = NonNegativeFloat | list[tuple[float, NonNegativeFloat]]


def _ordered(curve: Curve) -> Curve:
    if isinstance(curve, list):
        places = [place for place, _ in curve]
        if not places or places != sorted(set(places)) or places[0] < 0 or places[-1] > 1:
            raise ValueError("must be a number, or points [place, weight] whose places rise within 0 and 1")
    return curve


class BranchCurves(Strict):
    """Weight of one branch: the product of a curve over progress and a curve over blocks.

    A curve is a number or a list of points [place, weight]: linear between them, 0 outside them.
    """

    progress: Curve = 1.0
    """Over denoising progress, 0 (noise) to 1 (image)."""
    blocks: Curve = 1.0
    """Over the block's relative depth, 0 (first) to 1 (last)."""

    @field_validator("progress", "blocks")
    @classmethod
    def _check(cls, value: Curve) -> Curve:
        return _ordered(value)


class TrainingWeights(Strict):
    """Weights while training."""

    image: NonNegativeFloat = 1.0
    text: NonNegativeFloat = 1.0


class ScheduledConfig(PolicyConfig):
    """Weights that follow denoising progress and depth at inference."""

    training: TrainingWeights = Field(default_factory=TrainingWeights)
    """Weights of both branches while training."""
    image: BranchCurves = Field(default_factory=BranchCurves)
    """Image branch at inference."""
    text: BranchCurves = Field(default_factory=lambda: BranchCurves(progress=0.0))
    """Text branch at inference."""

    def training_part(self) -> dict[str, Any]:
        """What training sees of the policy: the weights of both branches."""
        return {"image": self.training.image, "text": self.training.text}
