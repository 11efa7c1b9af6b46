"""One token a picture: ``image_embeds`` of CLIP's vision tower with its projection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import AutoConfig, CLIPConfig, CLIPImageProcessor, CLIPVisionModelWithProjection

from ...shared.pretrained import fingerprint
from ..embedding import EmbeddingEncoder
from .config import ClipEmbeddingConfig


class ClipEmbeddingEncoder(EmbeddingEncoder):
    """A frozen CLIP, read at its projected embedding: B x 1 x C."""

    source = "image_embeds"

    def __init__(self, config: ClipEmbeddingConfig) -> None:
        super().__init__(config, "CLIP vision model with a projection")

    def load(self, where: Path | str, **options: Any) -> Any:
        """Load the tower with its projection, whose width a whole CLIP states beside its vision part."""
        shape: Any = AutoConfig.from_pretrained(where, revision=options.get("revision"))
        if isinstance(shape, CLIPConfig):
            shape.vision_config.projection_dim = shape.projection_dim  # pyright: ignore
            shape = shape.vision_config
        return CLIPVisionModelWithProjection.from_pretrained(where, config=shape, **options)

    def processor(self, where: Path | str | None, size: int, **options: Any) -> Any:
        """The model's own image processor; without one, CLIP's for this size (as diffusers' FLUX adapter takes it)."""
        if where is None:
            return CLIPImageProcessor(size=size, crop_size=size)
        return CLIPImageProcessor.from_pretrained(where, **options)

    def embed(self, pixels: Tensor) -> Tensor:
        """``image_embeds``, B x C."""
        return self.tower(pixels).image_embeds

    @property
    def width(self) -> int:
        """C: width of the projection."""
        return self.tower.config.projection_dim

    def mark(self) -> str:
        """Tell two towers of one shape apart by the class token's embedding."""
        return fingerprint(self.tower.vision_model.embeddings.class_embedding)
