"""Training of the oracle: renders of both splits, clean, noisy and blurred; half of them as the autoencoder gives them back,
and half of those as the base paints them over.

Painting over starts from the scene's own latents under some noise, with the prompt that says its identity: colours, forms and
marks stay what the labels say, and lines become those of the base, so that the oracle knows its hand and is asked no less.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import FluxPipeline
from torch import Tensor

from ...shared.latents import packed, unpacked
from ..models import autoencoder
from ..models.flux import GRID, Base
from ..models.oracle import Oracle, masks
from ..world.render import paint
from ..world.table import Table, boxes_of, draw_table
from ..world.vocabulary import ATTRIBUTES
from .loop import Progress, Schedule, Size, Training
from .pool import AT_ONCE, halves, laid_out, some
from .words import prompt_ids

SMALL = Size(
    Schedule(steps=3000, batch_size=64, learning_rate=2e-3, hold=0.4, weight_decay=0.01, ema=0.998), pool=12_288
)
LARGE = Size(
    Schedule(steps=4000, batch_size=256, learning_rate=3e-3, hold=0.4, weight_decay=0.01, ema=0.998, log_every=50),
    pool=49_152,
)
"""For a CPU, and for an accelerator."""
MIXTURE = {1: 0.35, 2: 0.3, 3: 0.15, 4: 0.2}
CODED_SHARE, PAINTED_SHARE = 0.5, 0.25
PAINTED_FROM = (0.25, 0.55)
"""Times at which painting over starts, drawn evenly."""
PAINTED_STEPS = 6


def disturb(images: Tensor) -> Tensor:
    """Blur a third, add noise to two thirds, shift brightness a little. [B,3,128,128] in [0, 1]."""
    size, device = (len(images), 1, 1, 1), images.device
    soft = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    blur = torch.rand(size, device=device) * (torch.rand(size, device=device) < 0.33)
    images = images + blur * (soft - images)
    strength = 0.08 * torch.rand(size, device=device) * (torch.rand(size, device=device) < 0.66)
    gain = 1 + 0.05 * torch.randn(size, device=device)
    return (images * gain + strength * torch.randn_like(images)).clamp(0, 1)


@torch.no_grad()
def paint_over(base: Base, latents: Tensor, ids: Tensor) -> Tensor:
    """Latents [B,8,16,16] put under noise and painted again by Euler's method, without guidance. [B,8,16,16]."""
    tokens, device = packed(latents), latents.device
    start = torch.empty(len(tokens), 1, 1, device=device).uniform_(*PAINTED_FROM)
    state = (1 - start) * tokens + start * torch.randn_like(tokens)
    for step in range(PAINTED_STEPS):
        time = start * (1 - step / PAINTED_STEPS)
        state = state - base(state, time[:, 0, 0], ids)[0].float() * (start / PAINTED_STEPS)
    return unpacked(state, GRID, GRID)


def seen_again(pipe: FluxPipeline, table: Table, images: Tensor) -> Tensor:
    """The pool with its first half replaced by what the autoencoder, and in part the base, makes of it. uint8."""
    coded, painted = (int(len(images) * share) for share in (CODED_SHARE, PAINTED_SHARE))
    base, ids, parts = Base.of(pipe), prompt_ids(table, dense=True), list[Tensor]()
    for start in range(0, coded, AT_ONCE):
        rows = slice(start, min(start + AT_ONCE, coded))
        with halves(table.device):
            latents = autoencoder.encode(pipe.vae, images[rows], chunk=AT_ONCE)
            if start < painted:
                latents = paint_over(base, latents, ids[rows])
            parts.append((autoencoder.decode(pipe.vae, latents, chunk=AT_ONCE) * 255).round().to(torch.uint8))
    return torch.cat([*parts, images[coded:]])


def train(
    folder: Path,
    pipe: FluxPipeline,
    schedule: Schedule = SMALL.schedule,
    pool: int = SMALL.pool,
    progress: Progress | None = None,
) -> Oracle:
    """Train on the pipeline's device, or go on from the checkpoint in `folder`."""
    torch.manual_seed(schedule.seed + 21)
    model = Oracle().to(pipe.vae.device)
    laid_out(model, torch.channels_last)
    table = draw_table(schedule.seed + 22, pool, split=None, mixture=MIXTURE).to(pipe.vae.device)
    images = seen_again(pipe, table, paint(table))
    rows, slots = torch.nonzero(table.present, as_tuple=True)
    boxes, counts = boxes_of(table, rows, slots), table.count - 1

    def step() -> Tensor:
        cases = some(len(rows), schedule.batch_size, images.device)
        scenes = rows[cases]
        shown = disturb(images[scenes].float() / 255).contiguous(memory_format=torch.channels_last)
        with halves(images.device):
            logits = model(shown, masks(boxes[cases]))
        right = dict(zip(ATTRIBUTES, table.values[scenes, slots[cases]].unbind(-1), strict=True))
        right["count"] = counts[scenes]
        return torch.stack([F.cross_entropy(said.float(), right[name]) for name, said in logits.items()]).sum()

    Training("oracle", model, schedule, folder).run(step, progress)
    laid_out(model, torch.contiguous_format)
    return model
