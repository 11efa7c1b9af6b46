"""Options of the encoder of labels."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dynaip.config import ComponentConfig

Level = Literal["fine", "middle", "coarse", "context"]


class LabelConfig(ComponentConfig):
    """Whose labels, and which of them."""

    model: str = "microworld"
    """Folder of an oracle, or a bundle that has one."""
    levels: tuple[Level, ...] = Field(default=("fine", "middle", "coarse"), min_length=1)
    """Bands of identity, and `context` for what prompts never say: posture, perspective, illumination."""
