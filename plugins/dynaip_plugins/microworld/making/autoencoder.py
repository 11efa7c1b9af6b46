"""Training of the autoencoder: reconstruction, also of averaged latents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

from ..models.autoencoder import create, encode
from ..models.pixels import pixels, signed
from ..world.scenes import draw
from .loop import Progress, Schedule, Training

MIXTURE = {1: 0.3, 2: 0.3, 3: 0.2, 4: 0.2}
SCHEDULE = Schedule(steps=1800, batch_size=12, learning_rate=2e-3, hold=0.3, warmup=100)
POOL = 6144
KL_WEIGHT, ROUGH_WEIGHT = 1e-4, 0.25


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


def calibrate(model: AutoencoderKL, seed: int, count: int = 512) -> None:
    """Set shift and scaling factor so that latents have mean 0 and deviation 1."""
    latents = encode(model, pixels(draw(seed, count)))
    model.register_to_config(shift_factor=latents.mean().item(), scaling_factor=1 / latents.std().item())


def train(
    folder: Path, schedule: Schedule = SCHEDULE, pool: int = POOL, progress: Progress | None = None
) -> AutoencoderKL:
    """Train, or go on from the checkpoint in `folder`; returns the calibrated model."""
    torch.manual_seed(schedule.seed)
    model: Any = create()
    model = model.to(memory_format=torch.channels_last)
    images = pixels(draw(schedule.seed + 1, pool, mixture=MIXTURE))

    def step(generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(images), (schedule.batch_size,), generator=generator)
        batch = signed(images[rows]).contiguous(memory_format=torch.channels_last)
        return loss(model, batch, generator)

    Training("autoencoder", model, schedule, folder).run(step, progress)
    calibrate(model, schedule.seed + 2)
    return model.to(memory_format=torch.contiguous_format)
