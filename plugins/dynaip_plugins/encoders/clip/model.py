"""CLIP's vision tower as an encoder of levels: layer l is the hidden state after l transformer layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from dynaip.contracts import VisualEncoder

from ...shared.pixels import normalised
from ...shared.pretrained import fingerprint
from ..levels import chosen_levels
from .config import ClipConfig
from .files import Loaded, load, outline


class ClipEncoder(VisualEncoder):
    """A frozen CLIP vision tower."""

    def __init__(self, config: ClipConfig, loaded: Loaded | None = None) -> None:
        super().__init__()
        self.config, self.fit = config, config.fit
        tower, self.mean, self.std = loaded or load(config)
        shape: Any = tower.config
        self.levels = chosen_levels(config.levels, shape.num_hidden_layers)
        width: int = shape.hidden_size
        self.widths = dict.fromkeys(self.levels, width)
        self.size, patches = shape.image_size, shape.image_size // shape.patch_size
        self.grid = (patches, patches)
        self.embeddings, self.pre_norm = tower.embeddings, tower.pre_layrnorm
        self.layers = tower.encoder.layers[: max(self.levels.values())]
        self.shape = {"hidden_size": shape.hidden_size, "layers": shape.num_hidden_layers, "image_size": self.size}
        self.eval().requires_grad_(False)

    @classmethod
    def skeleton(cls, config: ClipConfig) -> ClipEncoder | None:
        """The tower without weights, by its config file or a known layout."""
        tower = outline(config)
        return None if tower is None else cls(config, (tower, (0.5,) * 3, (0.5,) * 3))

    def preprocess(self, images: Sequence[Image.Image]) -> Tensor:
        """Make pictures square, resize them and normalise them: B x 3 x S x S."""
        return normalised(images, self.size, self.config.fit, self.mean, self.std)

    @torch.no_grad()
    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Run the layers up to the deepest level (pixels B x 3 x S x S -> B x N x C_l each)."""
        hidden = self.pre_norm(self.embeddings(pixels))
        states = {0: hidden}
        for number, layer in enumerate(self.layers, start=1):
            output = layer(hidden, attention_mask=None)
            hidden = states[number] = output[0] if isinstance(output, tuple) else output
        start = 0 if self.config.class_token else 1
        return {level: states[number][:, start:] for level, number in self.levels.items()}

    def signature(self) -> dict[str, Any]:
        """Name what an adapter depends on: model, shape, levels, and which weights of that shape."""
        return {
            "model": self.config.model,
            "levels": dict(self.levels),
            "class_token": self.config.class_token,
            **self.shape,
            # The class token's embedding tells two towers of one shape apart without reading gigabytes.
            "weights": fingerprint(self.embeddings.class_embedding),
        }
