"""Encoders that give one embedding a picture, preprocessed by the model's own image processor."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor

from dynaip.contracts import VisualEncoder
from dynaip.errors import InputError
from dynaip.models import resolve
from dynaip.suggest import one_line

from ..shared.pretrained import DTYPES, preprocessor_config, quiet, refuse_missing

LEVEL = "embedding"
"""Name of the only level."""


class EmbeddingEncoder(VisualEncoder):
    """A frozen tower read at its pooled output: one level, one token (B x 1 x C)."""

    source: str
    """What of the tower's output is read."""
    grid = (1, 1)

    def __init__(self, config: Any, what: str) -> None:
        super().__init__()
        self.config = config
        where = resolve(config.model, "vision")
        try:
            with quiet():
                options = {"revision": config.revision}
                self.tower, report = self.load(
                    where, dtype=DTYPES[config.dtype], use_safetensors=True, output_loading_info=True, **options
                )
                own = where if preprocessor_config(where, config.revision) else None
                self.images: Any = self.processor(own, self.tower.config.image_size, **(options if own else {}))
        except (OSError, ValueError, RuntimeError, SafetensorError, TypeError, AttributeError) as error:
            raise InputError(
                f"encoder.model: {config.model} cannot be loaded as a {what} ({one_line(error)})"
            ) from error
        refuse_missing(report["missing_keys"], f"encoder.model: {config.model}", what)
        self.fit = "crop" if getattr(self.images, "do_center_crop", False) else None
        self.levels = {LEVEL: self.tower.config.num_hidden_layers}
        self.widths = {LEVEL: self.width}
        self.eval().requires_grad_(False)

    @abstractmethod
    def load(self, where: Path | str, **options: Any) -> Any:
        """Load the tower; gives it with transformers' loading report."""

    @abstractmethod
    def processor(self, where: Path | str | None, size: int, **options: Any) -> Any:
        """Make the image processor, by its own config or (``where`` None) by the tower's image size."""

    @abstractmethod
    def embed(self, pixels: Tensor) -> Tensor:
        """Embed pixels (B x 3 x S x S -> B x C)."""

    @property
    @abstractmethod
    def width(self) -> int:
        """C: width of the embedding."""

    @abstractmethod
    def mark(self) -> str:
        """Fingerprint of a small part of the weights."""

    def preprocess(self, images: Sequence[Image.Image]) -> Tensor:
        """Bring pictures to the model's size and scale: B x 3 x S x S."""
        return self.images([image.convert("RGB") for image in images], return_tensors="pt")["pixel_values"]

    @torch.no_grad()
    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Give the embedding as the only token of the only level (B x 1 x C)."""
        return {LEVEL: self.embed(pixels)[:, None]}

    def signature(self) -> dict[str, Any]:
        """Name what an adapter depends on: model, output, shape, and which weights of that shape."""
        shape = self.tower.config
        return {
            "model": self.config.model,
            "output": self.source,
            "width": self.width,
            "layers": shape.num_hidden_layers,
            "image_size": shape.image_size,
            "weights": self.mark(),
        }
