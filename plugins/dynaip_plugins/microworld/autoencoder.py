"""The autoencoder: 64 x 64 pixels to 16 x 16 latents, as a diffusers `AutoencoderKL`."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

from .pool import draw, pixels, signed
from .training import Plan, Progress, Training

LATENT_CHANNELS = 4
MIXTURE = {1: 0.3, 2: 0.3, 3: 0.2, 4: 0.2}
PLAN = Plan(steps=1800, batch_size=12, learning_rate=2e-3, hold=0.3, warmup=100)
POOL = 6144
KL_WEIGHT, ROUGH_WEIGHT = 1e-4, 0.25


def create() -> AutoencoderKL:
    """An untrained autoencoder with downscaling factor 4."""
    return AutoencoderKL(
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


def loss(model: AutoencoderKL, images: Tensor, generator: torch.Generator) -> Tensor:
    """Error of the reconstruction and of the half-size one from averaged latents, plus a tiny KL term.

    Latents whose averages decode to averaged pixels are smooth, so that flow matching sets coarse before fine (scale
    equivariance after Skorokhodov et al. 2025, "Improving the Diffusability of Autoencoders"). images [B,3,64,64] in [-1, 1].
    """
    with torch.autocast("cpu", torch.bfloat16):
        moments = model.encoder(images)
        mean, logvar = moments.float().chunk(2, dim=1)
        logvar = logvar.clamp(-12, 4)
        latents = mean + (0.5 * logvar).exp() * torch.randn(mean.shape, generator=generator)
        shown, small = model.decoder(latents), model.decoder(F.avg_pool2d(latents, 2))
    divergence = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
    rough = difference(small, F.avg_pool2d(images, 2))
    return difference(shown, images) + ROUGH_WEIGHT * rough + KL_WEIGHT * divergence


def difference(shown: Tensor, images: Tensor) -> Tensor:
    """Absolute and squared error. Both of one shape."""
    error = shown.float() - images
    return error.abs().mean() + 2 * error.square().mean()


@torch.no_grad()
def encode(model: AutoencoderKL, images: Tensor, chunk: int = 64) -> Tensor:
    """uint8 pixels -> scaled latents, what the transformer sees. [B,4,16,16]."""
    scale, shift = model.config.scaling_factor, model.config.shift_factor
    parts = [model.encode(signed(part)).latent_dist.mean for part in images.split(chunk)]
    return (torch.cat(parts) - shift) * scale


@torch.no_grad()
def decode(model: AutoencoderKL, latents: Tensor, chunk: int = 64) -> Tensor:
    """Scaled latents -> float pixels in [0, 1]. [B,3,64,64]."""
    scale, shift = model.config.scaling_factor, model.config.shift_factor
    parts = [model.decode(part / scale + shift).sample for part in latents.split(chunk)]
    return (torch.cat(parts) / 2 + 0.5).clamp(0, 1)


def calibrate(model: AutoencoderKL, seed: int, count: int = 512) -> None:
    """Set shift and scaling factor so that latents have mean 0 and deviation 1."""
    latents = encode(model, pixels(draw(seed, count)))
    model.register_to_config(shift_factor=latents.mean().item(), scaling_factor=1 / latents.std().item())


def train(folder: Path, plan: Plan = PLAN, pool: int = POOL, progress: Progress | None = None) -> AutoencoderKL:
    """Train, or go on from the checkpoint in `folder`; returns the calibrated model."""
    torch.manual_seed(plan.seed)
    model = create().to(memory_format=torch.channels_last)
    images = pixels(draw(plan.seed + 1, pool, mixture=MIXTURE))

    def step(generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(images), (plan.batch_size,), generator=generator)
        batch = signed(images[rows]).contiguous(memory_format=torch.channels_last)
        return loss(model, batch, generator)

    Training("autoencoder", model, plan, folder).run(step, progress)
    calibrate(model, plan.seed + 2)
    return model.to(memory_format=torch.contiguous_format)
