"""Rendered scenes as tensors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..world.render import SIZE, render
from ..world.scenes import Scene


def pixels(scenes: Sequence[Scene], chunk: int = 256) -> Tensor:
    """Render scenes chunk by chunk. [B,3,64,64] uint8, channels last in memory."""
    images = np.empty((len(scenes), SIZE, SIZE, 3), np.uint8)
    for start in range(0, len(scenes), chunk):
        images[start : start + chunk] = render(scenes[start : start + chunk])
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def unit(images: Tensor) -> Tensor:
    """uint8 pixels -> float in [0, 1]."""
    return images.float() / 255


def signed(images: Tensor) -> Tensor:
    """uint8 pixels -> float in [-1, 1], what an autoencoder takes."""
    return images.float() / 127.5 - 1
