"""Options of the policy `scheduled`."""

from __future__ import annotations

from itertools import pairwise
from math import inf
from typing import Any

from pydantic import Field, FiniteFloat, TypeAdapter, ValidationError, field_validator, model_validator

from dynaip.config import PolicyConfig, Strict

Curve = float | list[tuple[float, float]]

_RULE = "must be a number from 0 up, or points [[place, weight], ...] whose places rise within 0 and 1"


def _read(value: Any) -> Curve:
    """Check a curve as a whole: the complaint about one of its numbers would not say what is allowed."""
    try:
        curve = TypeAdapter[Curve](Curve).validate_python(value, strict=False)
    except ValidationError:
        raise ValueError(f"{_RULE}, not {value!r}") from None
    points = curve if isinstance(curve, list) else [(0.0, curve)]
    places = [place for place, _ in points]
    rising = bool(places) and all(left < right for left, right in pairwise(places))
    if not rising or not all(0 <= place <= 1 and 0 <= weight < inf for place, weight in points):
        raise ValueError(f"{_RULE}, not {value!r}")
    return curve


class BranchCurves(Strict):
    """Weight of one branch: the product of a curve over progress and a curve over blocks.

    A curve is a number or a list of points [place, weight]: linear between them, 0 outside them.
    """

    progress: Curve = 1.0
    """Over denoising progress, 0 (noise) to 1 (image)."""
    blocks: Curve = 1.0
    """Over the block's relative depth, 0 (first) to 1 (last)."""

    @field_validator("progress", "blocks", mode="before")
    @classmethod
    def _check(cls, value: Any) -> Curve:
        return _read(value)


class TrainingWeights(Strict):
    """Weights while training."""

    image: FiniteFloat = Field(default=1.0, ge=0)
    text: FiniteFloat = Field(default=1.0, ge=0)

    @model_validator(mode="after")
    def _open(self) -> TrainingWeights:
        if self.image == self.text == 0:
            raise ValueError("at least one branch must have a weight above 0 while training")
        return self


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
