"""CLIP's vision tower as an encoder of levels: layer l is the hidden state after l transformer layers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from dynaip.contracts import VisualEncoder
from dynaip.errors import ConfigError, InputError
from dynaip.models import resolve
from PIL import Image
from torch import Tensor
from transformers import CLIPVisionModel

from .config import ClipConfig

RELATIVE_DEPTHS = {"low": 10 / 24, "mid": 17 / 24, "high": 1.0}
"""Layers 10 and 17 are the paper's low and mid (fig. 4); the last layer as high, and the scaling to other depths, are ours."""
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""CLIP's own normalisation, for folders without a preprocessor config."""


class ClipEncoder(VisualEncoder):
    """A frozen CLIP vision tower."""

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.config = config
        where = resolve(config.model, "vision")
        try:
            model = CLIPVisionModel.from_pretrained(where, revision=config.revision)
        except (OSError, ValueError) as error:
            raise InputError(f"encoder.model: {config.model} cannot be loaded as a CLIP vision model ({error})") from error
        shape = model.config
        self.levels = chosen_levels(config.levels, shape.num_hidden_layers)
        self.widths = dict.fromkeys(self.levels, shape.hidden_size)
        self.size, patches = shape.image_size, shape.image_size // shape.patch_size
        self.grid = (patches, patches)
        self.mean, self.std = _normalisation(where)
        tower: Any = getattr(model, "vision_model", model)
        self.embeddings, self.pre_norm = tower.embeddings, tower.pre_layrnorm
        self.layers = tower.encoder.layers[: max(self.levels.values())]
        self.fingerprint = {"hidden_size": shape.hidden_size, "layers": shape.num_hidden_layers, "image_size": self.size}
        self.eval().requires_grad_(False)

    def preprocess(self, images: Sequence[Image.Image]) -> Tensor:
        """Make pictures square, resize them and normalise them: B x 3 x S x S."""
        pixels = np.stack([np.asarray(square(image, self.size, self.config.fit), dtype=np.float32) for image in images])
        mean, std = (np.asarray(values, dtype=np.float32) for values in (self.mean, self.std))
        return torch.from_numpy((pixels / 255 - mean) / std).permute(0, 3, 1, 2).contiguous()

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
        """Model, its shape, and the levels."""
        return {
            "model": self.config.model,
            "levels": dict(self.levels),
            "class_token": self.config.class_token,
            **self.fingerprint,
        }


def chosen_levels(levels: Mapping[str, int] | None, depth: int) -> dict[str, int]:
    """Check the wanted layers against the model's depth; ``ConfigError`` names the range."""
    chosen = dict(levels) if levels else {name: round(part * depth) for name, part in RELATIVE_DEPTHS.items()}
    for name, number in chosen.items():
        if not 0 <= number <= depth:
            raise ConfigError(f"encoder.levels.{name}: layer {number} is not within 0 and {depth}")
    return dict(sorted(chosen.items(), key=lambda item: item[1]))


def square(image: Image.Image, size: int, fit: str) -> Image.Image:
    """Make a picture ``size`` pixels square: crop its middle, or pad it with white."""
    width, height = image.size
    edge = min(width, height) if fit == "crop" else max(width, height)
    if width != height:
        canvas = Image.new("RGB", (edge, edge), "white")
        canvas.paste(image.convert("RGB"), ((edge - width) // 2, (edge - height) // 2))
        image = canvas
    return image.convert("RGB") if edge == size else image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC)


def _normalisation(where: Path | str) -> tuple[Sequence[float], Sequence[float]]:
    """Read mean and standard deviation from the folder's preprocessor config; CLIP's own where there is none."""
    file = Path(where) / "preprocessor_config.json"
    if not isinstance(where, Path) or not file.is_file():
        return MEAN, STD
    config = json.loads(file.read_text(encoding="utf-8"))
    return config.get("image_mean", MEAN), config.get("image_std", STD)
