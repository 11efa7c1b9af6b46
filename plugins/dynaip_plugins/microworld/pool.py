"""Pools of scenes: drawn by a seed, rendered once, kept in memory as tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from .render import SIZE, render
from .world import Scene, Split, sample_scene

MIXTURE: Mapping[int, float] = {1: 0.5, 2: 0.33, 3: 0.1, 4: 0.07}
"""Share of scenes by number of subjects."""


def draw(seed: int, count: int, split: Split | None = "train", mixture: Mapping[int, float] = MIXTURE) -> list[Scene]:
    """`count` scenes by chance; the same seed always draws the same ones."""
    rng = np.random.default_rng(seed)
    subjects = rng.choice(list(mixture), size=count, p=list(mixture.values()))
    return [sample_scene(rng, int(number), split) for number in subjects]


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
