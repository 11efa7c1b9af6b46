"""Training of the base by flow matching on latents."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from dynaip.adapter.differentiable import differentiable_attention
from dynaip.errors import InputError
from dynaip.training.speed import norms_of_two_types

from ..models.autoencoder import LATENT_CHANNELS
from ..models.flux import GRID, HEAD_WIDTH, HEADS, Base
from ..models.pipeline import load
from ..world.table import draw_table
from .hints import HintHead
from .loop import Progress, Schedule, Size, Training, save_atomically
from .pool import Pool, halves, packed_latents
from .words import empty_ids

SMALL = Size(Schedule(steps=60_000, batch_size=48, learning_rate=1e-3, hold=0.5, ema=0.999, warmup=300), pool=65_536)
LARGE = Size(
    Schedule(
        steps=8000, batch_size=1024, learning_rate=2e-3, hold=0.4, ema=0.998, warmup=400, log_every=50,
        checkpoint_seconds=60,
    ),
    pool=262_144,
)  # fmt: skip
"""For a CPU, and for an accelerator."""
NOISE_SHIFT = 0.0
"""Mean of logit(t)."""
HINT_WEIGHT, HINTS_FALL, HINTS_END = 1.0, 0.3, 0.7
"""Weight of the hints; it falls linearly to zero between these shares of the training."""

AGAIN = 0.4
"""Share of the rate with which a base that is there already goes on."""

Model = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


class Learner(nn.Module):
    """The base and the head that names what its image tokens show."""

    def __init__(self) -> None:
        super().__init__()
        self.base, self.head = Base(), HintHead(HEADS * HEAD_WIDTH)


def take(base: Base, folder: Path) -> None:
    """Give a base the weights of a pipeline folder; `InputError` where those are of other sizes."""
    known = load(folder)
    parts = ((base.transformer, known.transformer), (base.clip, known.text_encoder), (base.t5, known.text_encoder_2))
    try:
        for own, given in parts:
            own.load_state_dict(given.state_dict())
    except RuntimeError as error:
        raise InputError(
            f"{folder} holds a base of other sizes than the one that is built: start from another"
        ) from error


def flow_loss(model: Model, clean: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Flow matching: x_t = (1-t) x_0 + t eps, target eps - x_0, t logit-normal; and the image tokens between the blocks."""
    noise = torch.randn_like(clean)
    time = torch.sigmoid(torch.randn(len(clean), device=clean.device) + NOISE_SHIFT)
    t = time[:, None, None]
    with halves(clean.device), differentiable_attention(clean.device), norms_of_two_types():
        velocity, middle = model((1 - t) * clean + t * noise, time, ids)
    return (velocity.float() - (noise - clean)).square().mean(), middle


def hint_weight(share: Tensor) -> Tensor:
    """Weight of the hints after a share of the training (both scalars)."""
    return HINT_WEIGHT * ((HINTS_END - share) / (HINTS_END - HINTS_FALL)).clamp(0, 1)


def compile_blocks(model: Base, batch_size: int) -> None:
    """Compile the two kinds of blocks, once each, and try them; blocks that do not compile stay as they are."""
    flux, device = model.transformer, next(model.parameters()).device
    blocks = [*flux.transformer_blocks, *flux.single_transformer_blocks]
    plain = [block.forward for block in blocks]
    clean = torch.randn(batch_size, GRID * GRID, 4 * LATENT_CHANNELS, device=device)
    try:
        for block in blocks:
            block.forward = torch.compile(block.forward, dynamic=False)
        flow_loss(model, clean, empty_ids(device).expand(batch_size, -1))[0].backward()
    except Exception as error:
        sys.stderr.write(f"base: blocks stay uncompiled ({type(error).__name__}: {str(error)[:300]})\n")
        for block, forward in zip(blocks, plain, strict=True):
            block.forward = forward
    model.zero_grad(set_to_none=True)


def restore_blocks(model: Base) -> None:
    """Undo `compile_blocks`, so that the model can be saved and copied."""
    for block in (*model.transformer.transformer_blocks, *model.transformer.single_transformer_blocks):
        block.__dict__.pop("forward", None)


def latents_of(vae: AutoencoderKL, seed: int, count: int, file: Path | None, device: str) -> Pool:
    """The pool of `count` scenes; where a file is named, their latents come from it, and are made first if it is missing."""
    table = draw_table(seed, count)
    if file is not None and file.exists():
        return Pool.of(table, torch.load(file, weights_only=True).to(device))
    nn.Module.to(vae, device=torch.device(device))
    latents = packed_latents(vae, table.to(device))
    if file is not None:
        save_atomically(latents.cpu(), file)
    return Pool.of(table, latents)


def train(
    folder: Path,
    vae: Callable[[], AutoencoderKL],
    schedule: Schedule = SMALL.schedule,
    pool: int = SMALL.pool,
    progress: Progress | None = None,
    device: str = "cpu",
    compiled: bool = False,
    start: Path | None = None,
) -> Base:
    """Train, or go on from the checkpoint in `folder`; returns the averaged model.

    `start` is a pipeline folder whose weights the training begins with: it needs no hints then, and a gentler rate.

    `compiled` takes a minute or two at the start, during which `vae` may still be in the making: it is asked for afterwards.
    """
    torch.manual_seed(schedule.seed + 11)
    model = Learner()
    if start is not None:
        take(model.base, start)
        schedule = replace(schedule, learning_rate=AGAIN * schedule.learning_rate)
    model = model.to(device)
    hinted = start is None
    if compiled:
        compile_blocks(model.base, schedule.batch_size)
    file = folder / "base-latents.pt" if device == "cpu" else None
    scenes = latents_of(vae(), schedule.seed + 12, pool, file, device)
    training = Training("base", model, schedule, folder)

    def step() -> Tensor:
        clean, ids, hints = scenes.batch(schedule.batch_size)
        loss, middle = flow_loss(model.base, clean, ids)
        return loss + hinted * hint_weight(training.share) * model.head(middle, hints)

    training.run(step, progress)
    restore_blocks(model.base)
    return model.base
