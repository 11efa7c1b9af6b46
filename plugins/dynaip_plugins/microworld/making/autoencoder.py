"""Training of the autoencoder: reconstruction, of edges too, from latents that are a little off, and of averaged latents.

One that is there already can go on with its decoder alone: latents stay what they are, and so does a base that paints them.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

from ..models.autoencoder import create, encode
from ..models.pixels import signed
from ..world.render import paint
from ..world.table import draw_table
from .loop import Progress, Schedule, Size, Training
from .pool import halves, laid_out, some

MIXTURE = {1: 0.3, 2: 0.3, 3: 0.2, 4: 0.2}
SMALL = Size(Schedule(steps=6000, batch_size=12, learning_rate=2e-3, hold=0.3, warmup=100, ema=0.995), pool=6144)
LARGE = Size(
    Schedule(steps=8000, batch_size=48, learning_rate=2e-3, hold=0.3, warmup=200, ema=0.998, log_every=50), pool=49_152
)
"""For a CPU, and for an accelerator."""
KL_WEIGHT, ROUGH_WEIGHT, EDGE_WEIGHT = 1e-4, 0.25, 1.0
OFF = 0.25
"""Largest noise that is added to latents in training, in units of their deviation."""


def loss(model: AutoencoderKL, images: Tensor, smooth: bool = True) -> Tensor:
    """Error of the reconstruction and of the half-size one from averaged latents, plus a tiny KL term.

        Latents whose averages decode to averaged pixels are smooth, so that flow matching sets coarse before fine (scale
        equivariance after Skorokhodov et al. 2025, "Improving the Diffusability of Autoencoders"). A decoder that met latents
        with noise draws a clean edge from what a base paints nearly right. Without `smooth` averaged latents are left out, which
    ask something of the encoder alone. images [B,3,128,128] in [-1, 1].
    """
    device = images.device
    with halves(device):
        mean, logvar = model.encoder(images).float().chunk(2, dim=1)
        logvar = logvar.clamp(-12, 4)
        strength = OFF * mean.detach().std() * torch.rand(len(images), 1, 1, 1, device=device)
        spread = torch.hypot((0.5 * logvar).exp(), strength)
        latents = mean + spread * torch.randn_like(mean)
        shown = model.decoder(latents)
        small = model.decoder(F.avg_pool2d(latents, 2)) if smooth else None
    divergence = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
    rough = 0.0 if small is None else difference(small, F.avg_pool2d(images, 2))
    sharp = sum(difference(shown.diff(dim=side), images.diff(dim=side)) for side in (-1, -2))
    return difference(shown, images) + EDGE_WEIGHT * sharp + ROUGH_WEIGHT * rough + KL_WEIGHT * divergence


def difference(shown: Tensor, images: Tensor) -> Tensor:
    """Absolute and squared error. Both of one shape."""
    error = shown.float() - images
    return error.abs().mean() + 2 * error.square().mean()


def calibrate(model: AutoencoderKL, seed: int, count: int) -> None:
    """Set shift and scaling factor so that latents have mean 0 and deviation 1."""
    latents = encode(model, paint(draw_table(seed, count).to(model.device)))
    model.register_to_config(shift_factor=latents.mean().item(), scaling_factor=1 / latents.std().item())


def train(
    folder: Path,
    schedule: Schedule = SMALL.schedule,
    pool: int = SMALL.pool,
    progress: Progress | None = None,
    device: str = "cpu",
    start: AutoencoderKL | None = None,
) -> AutoencoderKL:
    """Train, or go on from the checkpoint in `folder`; returns the calibrated model. Of `start` the decoder alone is trained."""
    torch.manual_seed(schedule.seed)
    model = start or create()
    model.encoder.requires_grad_(start is None)
    nn.Module.to(model, device=torch.device(device))
    laid_out(model, torch.channels_last)
    images = paint(draw_table(schedule.seed + 1, pool, mixture=MIXTURE).to(device))

    def step() -> Tensor:
        rows = some(len(images), schedule.batch_size, images.device)
        return loss(model, signed(images[rows]).contiguous(memory_format=torch.channels_last), smooth=start is None)

    Training("autoencoder", model, schedule, folder).run(step, progress)
    laid_out(model, torch.contiguous_format)
    if start is None:
        calibrate(model, schedule.seed + 2, min(512, pool))
    return model
