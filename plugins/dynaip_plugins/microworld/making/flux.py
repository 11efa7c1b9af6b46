"""Training of the base by flow matching on latents."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from dynaip.adapter.differentiable import PlainAttention

from ..models.flux import HEAD_WIDTH, HEADS, Base
from .hints import HintHead
from .loop import Progress, Schedule, Training
from .pool import make_pool

SCHEDULE = Schedule(steps=9_000, batch_size=48, learning_rate=1e-3, hold=0.6, ema=0.998, warmup=300)
POOL = 65_536
NOISE_SHIFT = 0.5
"""Mean of logit(t): a little towards noise, where colours and shapes are decided."""
HINT_WEIGHT, HINTS_FALL, HINTS_END = 1.0, 0.45, 0.85
"""Weight of the hints; it falls linearly to zero between these shares of the steps."""


class Learner(Base):
    """The base and the head that names what its image tokens show."""

    def __init__(self) -> None:
        super().__init__()
        self.head = HintHead(HEADS * HEAD_WIDTH)
        self.features: dict[str, Tensor] = {}
        self.transformer.transformer_blocks[-1].register_forward_hook(self._keep)

    def _keep(self, block: nn.Module, given: object, result: tuple[Tensor, Tensor]) -> None:
        self.features["image"] = result[1]


def flow_loss(model: Base, clean: Tensor, ids: Tensor, generator: torch.Generator) -> Tensor:
    """Flow matching: x_t = (1-t) x_0 + t eps, target eps - x_0, t logit-normal around NOISE_SHIFT."""
    noise = torch.randn(clean.shape, generator=generator)
    time = torch.sigmoid(torch.randn(len(clean), generator=generator) + NOISE_SHIFT)
    t = time[:, None, None]
    with torch.autocast("cpu", torch.bfloat16), PlainAttention():
        velocity = model((1 - t) * clean + t * noise, time, ids)
    return (velocity.float() - (noise - clean)).square().mean()


def hint_weight(done: float) -> float:
    """Weight of the hints after a share of the steps."""
    return HINT_WEIGHT * min(max((HINTS_END - done) / (HINTS_END - HINTS_FALL), 0), 1)


def train(
    folder: Path,
    vae: AutoencoderKL,
    schedule: Schedule = SCHEDULE,
    pool: int = POOL,
    progress: Progress | None = None,
    compiled: bool = False,
) -> Learner:
    """Train, or go on from the checkpoint in `folder`; returns the averaged model.

    `compiled` costs two minutes at the start and makes every step a quarter faster.
    """
    torch.manual_seed(schedule.seed + 11)
    model = Learner()
    scenes = make_pool(vae, schedule.seed + 12, pool, folder / "base-latents.pt")
    training = Training("base", model, schedule, folder)
    if compiled:
        model.transformer.compile(dynamic=False)

    def step(generator: torch.Generator) -> Tensor:
        clean, ids, hints = scenes.batch(schedule.batch_size, generator)
        loss = flow_loss(model, clean, ids, generator)
        weight = hint_weight(training.step / schedule.steps)
        return loss + weight * model.head(model.features["image"], hints) if weight > 0 else loss

    training.run(step, progress)
    return model
