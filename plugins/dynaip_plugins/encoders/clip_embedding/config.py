"""Options of CLIP's image embedding."""

from __future__ import annotations

from typing import Literal

from dynaip.config import ComponentConfig


class ClipEmbeddingConfig(ComponentConfig):
    """Which CLIP gives the embedding."""

    model: str = "openai/clip-vit-large-patch14"
    """Hub id, folder of a CLIPModel or CLIPVisionModelWithProjection, or a bundle such as microworld."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    dtype: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Type of the frozen weights, whatever type they are stored in."""
