"""Flow matching: ``x_t = (1-t) x_0 + t eps``, target ``eps - x_0`` (docs/concepts/method.md, "Training"; rectified flow)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from dynaip.config import TrainingConfig


@dataclass(frozen=True)
class Draw:
    """Everything that is drawn by chance for one batch."""

    timesteps: Tensor
    """t in (0, 1), B."""
    noise: Tensor
    """eps, like the latents."""
    drop_prompt: Tensor
    """B, bool: samples that see the empty prompt."""
    keep_reference: Tensor
    """B, bool: samples that see their reference."""


def draw(settings: TrainingConfig, shape: torch.Size, *, number: int) -> Draw:
    """Draw a batch's chances from the seed and its number alone.

    Batches are numbered through steps, parts and processes: a resumed run needs no memory of earlier draws, and it does not
    matter which process has a batch.
    """
    generator = torch.Generator().manual_seed(mixed(settings.seed, number, 0))
    batch = shape[0]
    timesteps = sample_timesteps(settings.timestep, batch, generator, shift=settings.shift)
    noise = torch.randn(shape, generator=generator)
    drop_prompt = torch.rand(batch, generator=generator) < settings.drop_prompt
    keep = torch.rand(batch, generator=generator) >= settings.drop_reference
    return Draw(timesteps, noise, drop_prompt, keep)


def mixed(*numbers: int) -> int:
    """Make one seed out of several numbers, without collisions in any practical range."""
    mixed = 0
    for number in numbers:
        mixed = (mixed * 1_000_003 + number + 0x9E3779B97F4A7C15) % 2**63
    return mixed


def sample_timesteps(distribution: str, count: int, generator: torch.Generator, *, shift: float = 3.0) -> Tensor:
    """Draw t in (0, 1): ``sigmoid_normal`` (logit-normal), ``uniform``, or ``shifted`` (s t / (1 + (s-1) t))."""
    if distribution == "sigmoid_normal":
        return torch.randn(count, generator=generator).sigmoid()
    uniform = torch.rand(count, generator=generator)
    return shift * uniform / (1 + (shift - 1) * uniform) if distribution == "shifted" else uniform


def noisy(clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """x_t for latents (B x T x C) at timesteps (B)."""
    t = timesteps.view(-1, *[1] * (clean.ndim - 1)).to(clean)
    return (1 - t) * clean + t * noise


def flow_matching_loss(velocity: Tensor, clean: Tensor, noise: Tensor) -> Tensor:
    """Mean squared error between the predicted velocity and eps - x_0, in float32."""
    return (velocity.float() - (noise.float() - clean.float())).square().mean()


def learning_rate(settings: TrainingConfig, step: int) -> float:
    """Rate of step ``step`` (from 0), known from the settings alone.

    ``constant`` rises linearly, stays, and falls linearly over the last share ``decay``; the others are diffusers' own.
    """
    if settings.schedule != "constant":
        return settings.learning_rate * _course(settings.schedule, settings.warmup, settings.steps)(step)
    rise = (step + 1) / settings.warmup if step < settings.warmup else 1.0
    tail = settings.decay * settings.steps
    fall = (settings.steps - step) / tail if tail and step > settings.steps - tail else 1.0
    return settings.learning_rate * min(rise, fall)


@lru_cache(maxsize=8)
def _course(schedule: str, warmup: int, steps: int) -> Callable[[int], float]:
    """Step to share of the learning rate, by diffusers' scheduler of that name."""
    from diffusers.optimization import get_scheduler

    nothing = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    made: Any = get_scheduler(schedule, nothing, num_warmup_steps=warmup, num_training_steps=steps)
    return made.lr_lambdas[0]
