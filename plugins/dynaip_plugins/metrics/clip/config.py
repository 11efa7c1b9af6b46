"""Options of the CLIP metric."""

from __future__ import annotations

from ...shared.contrastive import ContrastiveConfig


class ClipMetricConfig(ContrastiveConfig):
    """Which CLIP compares."""

    model: str = "openai/clip-vit-base-patch32"
    """Hub id or folder of a CLIPModel with tokenizer, or a bundle such as microworld."""
