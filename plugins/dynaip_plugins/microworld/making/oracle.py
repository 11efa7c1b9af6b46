"""Training of the oracle: clean, noisy, blurred and autoencoded renders of both splits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

from ..models import autoencoder
from ..models.oracle import Oracle, masks
from ..models.pixels import pixels, unit
from ..world.scenes import Scene, draw, labels, region
from .loop import Progress, Schedule, Training

SCHEDULE = Schedule(steps=2000, batch_size=64, learning_rate=2e-3, hold=0.4, weight_decay=0.01, ema=0.998)
POOL = 24_576
MIXTURE = {1: 0.35, 2: 0.3, 3: 0.15, 4: 0.2}
CODED_SHARE = 0.5
Cases = list[tuple[int, int]]


def cases_of(scenes: list[Scene]) -> Cases:
    """Every subject of every scene as (scene, subject)."""
    return [(row, k) for row, scene in enumerate(scenes) for k in range(len(scene.subjects))]


def targets_of(scenes: list[Scene], cases: Cases) -> tuple[dict[str, Tensor], Tensor]:
    """Right answers, each [n], and region masks [n,1,64,64] as bytes."""
    found = [labels(scenes[row], k) for row, k in cases]
    answers = {name: torch.tensor([one[name] for one in found]) for name in found[0]}
    return answers, masks([region(scenes[row], k) for row, k in cases]).to(torch.uint8)


def disturb(images: Tensor, generator: torch.Generator) -> Tensor:
    """Blur a third, add noise to two thirds, shift brightness a little. [B,3,64,64] in [0, 1]."""
    size = (len(images), 1, 1, 1)
    soft = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    blur = torch.rand(size, generator=generator) * (torch.rand(size, generator=generator) < 0.33)
    images = images + blur * (soft - images)
    strength = 0.08 * torch.rand(size, generator=generator) * (torch.rand(size, generator=generator) < 0.66)
    gain = 1 + 0.05 * torch.randn(size, generator=generator)
    return (images * gain + strength * torch.randn(images.shape, generator=generator)).clamp(0, 1)


def half_coded(vae: AutoencoderKL, images: Tensor) -> Tensor:
    """Replace the first half of the pool by what the autoencoder makes of it. uint8."""
    count = int(len(images) * CODED_SHARE)
    with torch.autocast("cpu", torch.bfloat16):
        shown = autoencoder.decode(vae, autoencoder.encode(vae, images[:count])).float()
    return torch.cat([(shown * 255).round().to(torch.uint8), images[count:]])


def train(
    folder: Path, vae: AutoencoderKL, schedule: Schedule = SCHEDULE, pool: int = POOL, progress: Progress | None = None
) -> Oracle:
    """Train, or go on from the checkpoint in `folder`."""
    torch.manual_seed(schedule.seed + 21)
    model: Any = Oracle()
    model = model.to(memory_format=torch.channels_last)
    scenes = draw(schedule.seed + 22, pool, split=None, mixture=MIXTURE)
    images = half_coded(vae, pixels(scenes))
    cases = cases_of(scenes)
    owners = torch.tensor([row for row, _ in cases])
    answers, regions = targets_of(scenes, cases)

    def step(generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(cases), (schedule.batch_size,), generator=generator)
        shown = disturb(unit(images[owners[rows]]), generator).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(shown, regions[rows].float())
        return torch.stack([F.cross_entropy(v.float(), answers[n][rows]) for n, v in logits.items()]).sum()

    Training("oracle", model, schedule, folder).run(step, progress)
    return model.to(memory_format=torch.contiguous_format)
