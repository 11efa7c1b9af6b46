"""Options of microworld's pairs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from dynaip.config import ComponentConfig


class MicroworldPairsConfig(ComponentConfig):
    """How many pairs, and whether the reference shows another scene than the target."""

    pairs: Literal["cross", "self"] = "cross"
    """cross: two scenes of one subject in different contexts; self: reference and target are the same image."""
    size: PositiveInt = 6000
    """Number of pairs."""
    seed: NonNegativeInt = 0
    """Which pairs."""
    pixels: int = Field(128, ge=16, le=1024)
    """Side of the pictures. They are drawn at 128, the world's own, and resampled to others."""
