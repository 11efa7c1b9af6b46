"""Options of a vision transformer whose layers are levels."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dynaip.config import ComponentConfig


class VitConfig(ComponentConfig):
    """Which vision transformer, and which of its layers."""

    model: str = "facebook/dinov2-large"
    """Hub id, folder or bundle with a CLIP, SigLIP, SigLIP 2 (NaFlex, too), ViT, DINO, DINOv2, DINOv3 or C-RADIO tower."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    levels: dict[str, int | float] | None = Field(default=None, min_length=1)
    """Level name -> layer (17) or share of the depth (0.42); None takes low, mid, high at 10/24, 17/24 and 24/24."""
    size: int | None = Field(default=None, gt=0)
    """Edge of the pixels, a multiple of the patches; None takes the model's own. Position embeddings are interpolated."""
    fit: Literal["own", "crop", "pad"] = "own"
    """How a picture becomes square: as the model's own files say, its middle, or with white beside it."""
    dtype: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Type of the frozen weights, whatever type they are stored in."""
