"""Options of the CLIP encoder."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dynaip.config import ComponentConfig


class ClipConfig(ComponentConfig):
    """Which CLIP, and which of its layers."""

    model: str = "openai/clip-vit-large-patch14"
    """Hub id, folder of a CLIPVisionModel or CLIPModel, or a bundle such as microworld."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    levels: dict[str, int] | None = Field(default=None, min_length=1)
    """Level name -> layer, from shallow to deep; None takes low, mid, high at 10/24, 17/24 and 24/24 of the depth."""
    class_token: bool = False
    """Keep the class token before the patch tokens."""
    fit: Literal["crop", "pad"] = "crop"
    """How a picture that is not square becomes square: its middle, or with white beside it."""
    dtype: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Type of the frozen weights, whatever type they are stored in."""
