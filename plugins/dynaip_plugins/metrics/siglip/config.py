"""Options of the SigLIP metric."""

from __future__ import annotations

from ...shared.contrastive import ContrastiveConfig


class SiglipMetricConfig(ContrastiveConfig):
    """Which SigLIP compares."""

    model: str = "google/siglip2-so400m-patch14-384"
    """Hub id or folder of a SiglipModel (SigLIP 2 of a fixed size has this class, too) with its tokenizer."""
