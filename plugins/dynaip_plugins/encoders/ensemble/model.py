"""Several frozen towers read as one encoder: every level has a tower of its own, and all have one grid of tokens (ours)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from dynaip.contracts import VisualEncoder

from ...shared.preprocessing import Preprocessing, inside_the_model
from ...shared.towers import Tower, load_tower
from ..levels import layer_at
from .config import EnsembleConfig


class EnsembleEncoder(VisualEncoder):
    """Levels of several towers on one grid."""

    def __init__(self, config: EnsembleConfig) -> None:
        super().__init__()
        self.config, self.fit = config, config.fit
        self.places: dict[str, tuple[str, int]] = {}
        self.towers = nn.ModuleDict()
        for level in config.levels:
            name, given = config.place(level)
            if name not in self.towers:
                self.towers[name] = self._load(name)
            self.places[level] = (name, layer_at(given, self._tower(name).depth, level))
        self.levels = {level: number for level, (_, number) in self.places.items()}
        self.widths = {level: self._tower(name).width for level, (name, _) in self.places.items()}
        edge = config.grid or max(self._tower(name).edge for name in self.towers)
        self.grid = (edge, edge)
        self.size = max(self._tower(name).preprocessing.size for name in self.towers)
        for name in self.towers:
            self._tower(name).cut_to(max(number for own, number in self.places.values() if own == name))
        self.eval().requires_grad_(False)

    def _load(self, name: str) -> Tower:
        options = self.config.options(name)
        return load_tower(
            options.model,
            revision=options.revision,
            size=options.size,
            dtype=self.config.dtype,
            who=f"encoder.towers.{name}.model",
        )

    def _tower(self, name: str) -> Any:
        return self.towers[name]

    def preprocess(self, images: Sequence[Image.Image]) -> Tensor:
        """Make pictures square at the size of the largest tower, in [0, 1]: B x 3 x S x S."""
        return inside_the_model(self.size).pixels(images, self.config.fit)

    @torch.no_grad()
    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Run every tower once, on pixels of its own size and scale (B x 3 x S x S -> B x N x C_l each)."""
        found: dict[str, Tensor] = {}
        for name in self.towers:
            tower = self._tower(name)
            wanted = {level: number for level, (own, number) in self.places.items() if own == name}
            states = tower.states(scaled_for(tower.preprocessing, pixels), set(wanted.values()))
            found |= {level: on_grid(states[number], tower.edge, self.grid[0]) for level, number in wanted.items()}
        return {level: found[level] for level in self.levels}

    def signature(self) -> dict[str, Any]:
        """Name what an adapter depends on: each tower with its shape and weights, the places of the levels, the grid."""
        towers = {name: self._tower(name).signature() for name in self.towers}
        return {
            "towers": towers,
            "levels": {level: list(place) for level, place in self.places.items()},
            "grid": self.grid[0],
        }


def scaled_for(preprocessing: Preprocessing, pixels: Tensor) -> Tensor:
    """Pixels in [0, 1] (B x 3 x S x S) at a tower's size, normalised as it asks for."""
    if preprocessing.size != pixels.shape[-1]:
        pixels = functional.interpolate(
            pixels.float(), (preprocessing.size,) * 2, mode="bicubic", antialias=True, align_corners=False
        ).clamp(0, 1).to(pixels.dtype)  # fmt: skip
    mean, std = (pixels.new_tensor(each)[:, None, None] for each in (preprocessing.mean, preprocessing.std))
    return (pixels * (255 * preprocessing.factor) - mean) / std


def on_grid(tokens: Tensor, edge: int, wanted: int) -> Tensor:
    """Resample patch tokens from one square grid to another (B x edge^2 x C -> B x wanted^2 x C)."""
    if edge == wanted:
        return tokens
    maps = tokens.float().transpose(1, 2).unflatten(2, (edge, edge))
    resampled = functional.interpolate(maps, (wanted, wanted), mode="bilinear", antialias=True, align_corners=False)
    return resampled.flatten(2).transpose(1, 2).to(tokens.dtype)
