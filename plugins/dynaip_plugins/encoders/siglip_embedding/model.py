"""One token a picture: ``pooler_output`` of SigLIP's vision tower."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import SiglipImageProcessor, SiglipVisionModel

from ...shared.pretrained import fingerprint
from ..embedding import EmbeddingEncoder
from .config import SiglipEmbeddingConfig


class SiglipEmbeddingEncoder(EmbeddingEncoder):
    """A frozen SigLIP, read at its attention-pooled output: B x 1 x C."""

    source = "pooler_output"

    def __init__(self, config: SiglipEmbeddingConfig) -> None:
        super().__init__(config, "SigLIP vision model")

    def load(self, where: Path | str, **options: Any) -> Any:
        """Load the vision tower."""
        return SiglipVisionModel.from_pretrained(where, **options)

    def processor(self, where: Path | str | None, size: int, **options: Any) -> Any:
        """The model's own image processor; without one, SigLIP's for this size."""
        if where is None:
            return SiglipImageProcessor(size={"height": size, "width": size})
        return SiglipImageProcessor.from_pretrained(where, **options)

    def embed(self, pixels: Tensor) -> Tensor:
        """``pooler_output``, B x C."""
        return self.tower(pixels).pooler_output

    @property
    def width(self) -> int:
        """C: width of the tower."""
        return self.tower.config.hidden_size

    def mark(self) -> str:
        """Tell two towers of one shape apart by the probe of the pooling head."""
        return fingerprint(getattr(self.tower, "vision_model", self.tower).head.probe)
