"""The autoencoder: 64 x 64 pixels to 16 x 16 latents, as a diffusers `AutoencoderKL`."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from .pixels import signed

LATENT_CHANNELS = 4


def create() -> AutoencoderKL:
    """An untrained autoencoder with downscaling factor 4."""
    made: Any = AutoencoderKL  # its types know one block alone
    return made(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 64),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        sample_size=64,
        mid_block_add_attention=False,
        use_quant_conv=False,
        use_post_quant_conv=False,
        scaling_factor=1.0,
        shift_factor=0.0,
    )


@torch.no_grad()
def encode(model: AutoencoderKL, images: Tensor, chunk: int = 64) -> Tensor:
    """uint8 pixels -> scaled latents, what the transformer sees. [B,4,16,16]."""
    coder: Any = model
    scale, shift = coder.config.scaling_factor, coder.config.shift_factor
    parts = [coder.encode(signed(part)).latent_dist.mean for part in images.split(chunk)]
    return (torch.cat(parts) - shift) * scale


@torch.no_grad()
def decode(model: AutoencoderKL, latents: Tensor, chunk: int = 64) -> Tensor:
    """Scaled latents -> float pixels in [0, 1]. [B,3,64,64]."""
    coder: Any = model
    scale, shift = coder.config.scaling_factor, coder.config.shift_factor
    parts = [coder.decode(part / scale + shift).sample for part in latents.split(chunk)]
    return (torch.cat(parts) / 2 + 0.5).clamp(0, 1)
