"""Shared by backbones and microworld: between maps of latents and the tokens that transformers see."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def packed(latents: Tensor, patch: int = 2) -> Tensor:
    """B x c x h x w to B x (h/p * w/p) x (c * p * p), in the order of FLUX and Qwen-Image."""
    batch, channels, height, width = latents.shape
    parts = latents.view(batch, channels, height // patch, patch, width // patch, patch)
    return parts.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, channels * patch * patch)


def unpacked(tokens: Tensor, rows: int, columns: int, patch: int = 2) -> Tensor:
    """The inverse of ``packed``: B x (rows * columns) x (c * p * p) to B x c x (rows * p) x (columns * p)."""
    parts = tokens.view(len(tokens), rows, columns, -1, patch, patch)
    return parts.permute(0, 3, 1, 4, 2, 5).reshape(len(tokens), -1, rows * patch, columns * patch)


def scaled(vae: Any, pixels: Tensor) -> Tensor:
    """Latents (B x c x h x w) of pixels in [-1, 1], shifted and scaled as the VAE's config says: the distribution's mode."""
    latents = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist.mode()
    return (latents - (vae.config.shift_factor or 0.0)) * vae.config.scaling_factor


def grid_of(ids: Tensor) -> tuple[int, int]:
    """Rows and columns of the tokens whose first id is 0; tokens of an image that is edited carry another number."""
    ids = ids[0] if ids.ndim == 3 else ids
    own = ids[ids[:, 0] == 0]
    return int(own[:, 1].max()) + 1, int(own[:, 2].max()) + 1


def full(value: float, like: Tensor) -> Tensor:
    """``value`` for every row of a batch (B)."""
    return torch.full((len(like),), value, device=like.device)
