"""The autoencoder: 128 x 128 pixels to 16 x 16 latents of eight channels, as a diffusers `AutoencoderKL`."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from ..world.render import SIZE
from .pixels import signed

LATENT_CHANNELS = 8
WIDTHS = (16, 32, 64, 64)
"""Channels by resolution; each halves it, so that latents are eight times smaller than the picture, as FLUX's are."""


def create() -> AutoencoderKL:
    """An untrained autoencoder with downscaling factor 8."""
    made: Any = AutoencoderKL  # its types know one block alone
    return made(
        down_block_types=("DownEncoderBlock2D",) * len(WIDTHS),
        up_block_types=("UpDecoderBlock2D",) * len(WIDTHS),
        block_out_channels=WIDTHS,
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        sample_size=SIZE,
        mid_block_add_attention=False,
        use_quant_conv=False,
        use_post_quant_conv=False,
        scaling_factor=1.0,
        shift_factor=0.0,
    )


@torch.no_grad()
def encode(model: AutoencoderKL, images: Tensor, chunk: int = 64) -> Tensor:
    """uint8 pixels -> scaled latents, what the transformer sees. [B,8,16,16] float32, where the model is."""
    coder: Any = model
    parts = [coder.encode(signed(part.to(coder.device))).latent_dist.mean.float() for part in images.split(chunk)]
    return (torch.cat(parts) - coder.config.shift_factor) * coder.config.scaling_factor


@torch.no_grad()
def decode(model: AutoencoderKL, latents: Tensor, chunk: int = 64) -> Tensor:
    """Scaled latents -> float pixels in [0, 1]. [B,3,128,128]."""
    coder: Any = model
    scale, shift = coder.config.scaling_factor, coder.config.shift_factor
    parts = [coder.decode(part.to(coder.device) / scale + shift).sample.float() for part in latents.split(chunk)]
    return (torch.cat(parts) / 2 + 0.5).clamp(0, 1)
