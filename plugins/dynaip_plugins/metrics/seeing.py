"""Shared by metrics: a frozen vision tower that looks at pictures in batches, and says what it is."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..shared.looking import TowerConfig
from ..shared.preprocessing import Preprocessing
from ..shared.towers import FAMILIES, Tower, load_tower
from .kept import Kept, in_batches

DREAMBENCH = Preprocessing(
    224, 256, int(Image.Resampling.BICUBIC), 1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
)
"""Pixels of DreamBench's and DreamBench++'s programs: shorter edge 256, middle 224, bicubic, ImageNet's values."""


class Seeing:
    """A tower with its preprocessing."""

    def __init__(
        self,
        config: TowerConfig,
        who: str,
        *,
        families: Collection[str] = tuple(FAMILIES),
        whole: bool = True,
    ) -> None:
        self.config = config
        self.tower: Tower = load_tower(
            config.model, revision=config.revision, dtype=config.dtype, who=who, families=families, whole=whole
        )
        self.preprocessing = self.tower.preprocessing
        self.kept = Kept()

    def to(self, device: Any) -> None:
        """Move the tower."""
        self.tower.to(device)
        self.kept.forget()

    def embeddings(self, images: Sequence[Image.Image], *, again: bool = False) -> Tensor:
        """Pooled embeddings of unit length (N x C), on the CPU in float32; pictures that come ``again`` are seen once."""
        return torch.nn.functional.normalize(self._seen(images, self.tower.pooled, self.kept if again else None), dim=1)

    def patches(self, images: Sequence[Image.Image], layer: int) -> Tensor:
        """Patch tokens after a layer (N x edge^2 x C), on the CPU in float32."""
        return self._seen(images, lambda pixels: self.tower.states(pixels, {layer})[layer])

    def _seen(
        self, images: Sequence[Image.Image], look: Callable[[Tensor], Tensor], kept: Kept | None = None
    ) -> Tensor:
        like = next(self.tower.parameters())

        def make(batch: Sequence[Image.Image]) -> Tensor:
            return look(self.preprocessing.pixels([*batch]).to(like.device, like.dtype)).float().cpu()

        found = in_batches(images, self.config.batch_size, make, kept)
        return torch.cat(found) if found else torch.empty(0, self.tower.width)

    def about(self) -> dict[str, Any]:
        """Model, revision, weights and pixels, for the record of scores."""
        return {
            **self.tower.signature(),
            "revision": self.tower.revision or self.config.revision or "",
            "preprocessing": self.preprocessing.described(),
            "dtype": self.config.dtype,
        }
