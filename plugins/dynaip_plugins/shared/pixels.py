"""Shared by encoders and metrics: pictures made square, resized and normalised as a vision tower takes them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .pretrained import preprocessor_config

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""CLIP's own normalisation, for models without a preprocessor config."""


def normalisation(where: Path | str, revision: str | None) -> tuple[Sequence[float], Sequence[float]]:
    """Read mean and deviation from the preprocessor config; CLIP's own where there is none."""
    file = preprocessor_config(where, revision)
    settings: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file else {}
    if not settings.get("do_normalize", True):
        return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    mean = tuple(map(float, settings.get("image_mean") or MEAN))
    std = tuple(map(float, settings.get("image_std") or STD))
    if len(mean) != 3 or len(std) != 3 or 0 in std:
        raise ValueError(f"{file}: image_mean and image_std must be three numbers each, the latter not 0")
    return mean, std


def normalised(
    images: Sequence[Image.Image], size: int, fit: str, mean: Sequence[float], std: Sequence[float]
) -> Tensor:
    """Make pictures square, resize them and normalise them: B x 3 x S x S."""
    pixels = np.stack([np.asarray(square(image, size, fit), dtype=np.float32) for image in images])
    centre, spread = (np.asarray(values, dtype=np.float32) for values in (mean, std))
    return torch.from_numpy((pixels / 255 - centre) / spread).permute(0, 3, 1, 2).contiguous()


def square(image: Image.Image, size: int, fit: str) -> Image.Image:
    """Make a picture ``size`` pixels square: its middle (``crop``), or all of it with white beside it (``pad``)."""
    image, (width, height) = image.convert("RGB"), image.size
    if fit == "crop":
        edge = min(width, height)
        left, top = (width - edge) // 2, (height - edge) // 2
        return image.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + edge, top + edge))
    # Shrunk before it is padded: beside a long thin picture the white would not fit into memory.
    ratio = size / max(width, height)
    inner = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    canvas = Image.new("RGB", (size, size), "white")
    canvas.paste(image.resize(inner, Image.Resampling.BICUBIC), ((size - inner[0]) // 2, (size - inner[1]) // 2))
    return canvas
