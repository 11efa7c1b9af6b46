"""Options of the DINO metric."""

from __future__ import annotations

from typing import Literal

from ...shared.looking import TowerConfig


class DinoConfig(TowerConfig):
    """Which DINO compares."""

    model: str = "facebook/dino-vits16"
    """Hub id or folder: dino-vits16 is DreamBench's, dino-vits8 DreamBench++'s, dinov2-small its second one."""
    pixels: Literal["protocol", "own"] | None = None
    """``protocol``: shorter edge 256, middle 224, bicubic; ``own``: the model's file; None takes the first for DINO alone."""
