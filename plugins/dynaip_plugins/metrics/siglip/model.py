"""SigLIP-I and SigLIP-T: cosine x 100 of embeddings between image and reference, and between image and prompt."""

from __future__ import annotations

from typing import Any

from transformers import SiglipModel

from ..contrastive import ContrastiveMetric


class SiglipMetric(ContrastiveMetric):
    """Scores any images with any SigLIP."""

    columns = ("siglip_i", "siglip_t")
    loader: Any = SiglipModel
    name = "siglip"
    masked = False
