"""CLIP-I: cosine x 100 between image and reference (mean over references); CLIP-T: between image and prompt (DreamBench)."""

from __future__ import annotations

from typing import Any

from transformers import CLIPModel

from ..contrastive import ContrastiveMetric


class ClipMetric(ContrastiveMetric):
    """Scores any images with any CLIP."""

    columns = ("clip_i", "clip_t")
    loader: Any = CLIPModel
    name = "clip"
