"""Options of SigLIP's image embedding."""

from __future__ import annotations

from typing import Literal

from dynaip.config import ComponentConfig


class SiglipEmbeddingConfig(ComponentConfig):
    """Which SigLIP gives the embedding."""

    model: str = "google/siglip-so400m-patch14-384"
    """Hub id, or folder of a SiglipModel or SiglipVisionModel."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    dtype: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Type of the frozen weights, whatever type they are stored in."""
