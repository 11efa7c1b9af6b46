"""Rendered scenes as tensors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..world.render import SIZE, render
from ..world.scenes import Scene


def pixels(scenes: Sequence[Scene], chunk: int = 256) -> Tensor:
    """Render scenes chunk by chunk. [B,3,128,128] uint8, channels last in memory."""
    images = np.empty((len(scenes), SIZE, SIZE, 3), np.uint8)
    for start in range(0, len(scenes), chunk):
        images[start : start + chunk] = render(scenes[start : start + chunk])
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def of_pictures(pictures: Sequence[Image.Image]) -> Tensor:
    """Pictures of any size as the world's models see them. [B,3,128,128] in [0, 1]."""
    coloured = [picture.convert("RGB") for picture in pictures]
    sized = [each if each.size == (SIZE, SIZE) else each.resize((SIZE, SIZE)) for each in coloured]
    return unit(torch.from_numpy(np.stack([np.asarray(each) for each in sized])).permute(0, 3, 1, 2))


def unit(images: Tensor) -> Tensor:
    """uint8 pixels -> float in [0, 1]."""
    return images.float() / 255


def signed(images: Tensor) -> Tensor:
    """uint8 pixels -> float in [-1, 1], what an autoencoder takes."""
    return images.float() / 127.5 - 1
