"""A vision transformer as an encoder of levels: layer l is the hidden state after l layers, patches alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image
from torch import Tensor

from dynaip.contracts import VisualEncoder

from ...shared.towers import load_tower
from ..levels import chosen_levels
from .config import VitConfig


class VitEncoder(VisualEncoder):
    """A frozen vision tower of any family of the table (``shared/towers.py``)."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.config = config
        self.tower = load_tower(config.model, revision=config.revision, size=config.size, dtype=config.dtype)
        self.levels = chosen_levels(config.levels, self.tower.depth)
        self.widths = dict.fromkeys(self.levels, self.tower.width)
        self.grid = (self.tower.edge, self.tower.edge)
        self.fit = self.tower.preprocessing.fit if config.fit == "own" else config.fit
        self.tower.cut_to(max(self.levels.values()))
        self.eval().requires_grad_(False)

    def preprocess(self, images: Sequence[Image.Image]) -> Tensor:
        """Bring pictures to the model's size and scale: B x 3 x S x S."""
        return self.tower.preprocessing.pixels(images, self.config.fit)

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Run the layers up to the deepest level (pixels B x 3 x S x S -> B x N x C_l each)."""
        states = self.tower.states(pixels, set(self.levels.values()))
        return {level: states[number] for level, number in self.levels.items()}

    def signature(self) -> dict[str, Any]:
        """Name what an adapter depends on: model, shape, levels, and which weights of that shape."""
        return {**self.tower.signature(), "levels": dict(self.levels)}
