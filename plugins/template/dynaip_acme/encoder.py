"""An encoder without a network: average colours of patches, from fine to coarse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from dynaip.contracts import VisualEncoder

from .config import PatchConfig

COARSENESS = {"low": 1, "mid": 2, "high": 4}
"""Level -> how many patches along an edge share their colour."""


class PatchEncoder(VisualEncoder):
    """Colours of patches; the coarser levels are repeated so that all have the same number of tokens."""

    def __init__(self, config: PatchConfig) -> None:
        super().__init__()
        self.config = config
        self.levels = dict(COARSENESS)
        self.widths = dict.fromkeys(COARSENESS, 3)
        self.grid = (config.rows, config.rows)

    def preprocess(self, images: Sequence[Image.Image]) -> Tensor:
        """Resize to 8 pixels a patch: B x 3 x S x S in [-1, 1]."""
        edge = 8 * self.config.rows
        pixels = np.stack([np.asarray(image.convert("RGB").resize((edge, edge)), dtype=np.float32) for image in images])
        return torch.from_numpy(pixels / 127.5 - 1).permute(0, 3, 1, 2).contiguous()

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Average colours (B x 3 x S x S -> B x N x 3 for each level)."""
        return {level: self._colours(pixels, factor) for level, factor in COARSENESS.items()}

    def _colours(self, pixels: Tensor, factor: int) -> Tensor:
        coarse = F.adaptive_avg_pool2d(pixels, max(1, self.config.rows // factor))
        return F.interpolate(coarse, size=self.grid, mode="nearest").flatten(2).transpose(1, 2)

    def signature(self) -> dict[str, Any]:
        """What an adapter that was trained with this encoder depends on."""
        return {"model": "patches", "rows": self.config.rows, "levels": dict(COARSENESS)}
