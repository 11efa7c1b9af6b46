"""Training of the tiny DINOv2 on pictures alone: two crops, most of each hidden, are known as one picture and completed.

The tower sees the patches that are left; their class token and mean are matched with those of the other crop among pictures of
one category on one ground, and a layer that is thrown away later tells the pixels of the patches that are hidden (contrastive
masked autoencoder: Mishra et al. 2022, "CAN"; pictures alike in a batch: ours). DINOv2 pairs the same two questions, of picture
and of patch, and asks them of a slow teacher's features (Oquab et al. 2024); a teacher needs more pictures than a CPU can show,
and what is hidden costs nothing here. No caption, label or region is learned from: labels only put pictures alike in a batch.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Dinov2Model

from ..models.dino import HEADS, PATCH, WIDTH, create
from ..models.pixels import signed
from ..world.render import SIZE, paint
from ..world.table import draw_table
from .loop import Progress, Schedule, Size, Training
from .pool import halves
from .views import crop
from .vision import COLDNESS, MIXTURE, alike, attention, contrast, kinds

SMALL = Size(
    Schedule(steps=9000, batch_size=64, learning_rate=1.5e-3, hold=0.4, weight_decay=0.05, ema=0.998), pool=8192
)
LARGE = Size(
    Schedule(
        steps=6000,
        batch_size=1024,
        learning_rate=2e-3,
        hold=0.4,
        weight_decay=0.05,
        ema=0.998,
        warmup=300,
        log_every=50,
    ),
    pool=131_072,
)
"""For a CPU, and for an accelerator."""
PATCHES = (SIZE // PATCH) ** 2
VISIBLE = PATCHES * 3 // 8
"""Patches of a crop that the tower sees."""
PIXEL_WEIGHT = 1.0


def patches(images: Tensor) -> Tensor:
    """Pixels of every patch, each patch with mean 0 and deviation 1. [B,3,128,128] -> [B,64,3*16*16]."""
    cut = F.unfold(images.float(), PATCH, stride=PATCH).transpose(1, 2)
    return F.layer_norm(cut, cut.shape[-1:], eps=1e-2)


class Learner(nn.Module):
    """The tower and what is asked of it: a head that matches crops, and a layer that completes them."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = create()
        self.look = nn.Sequential(nn.Linear(2 * WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH))
        self.hole, self.places = (nn.Parameter(0.02 * torch.randn(size, WIDTH)) for size in (1, PATCHES))
        self.painter = nn.TransformerEncoderLayer(
            WIDTH, HEADS, 4 * WIDTH, dropout=0, activation="gelu", batch_first=True, norm_first=True
        )
        self.pixels = nn.Linear(WIDTH, 3 * PATCH * PATCH)

    def forward(self, images: Tensor) -> Tensor:
        """Match of two crops of images [B,3,128,128] in [-1, 1], and the error in the pixels that the first of them hides."""
        crops = crop(torch.cat([images, images])).images
        order = torch.rand(len(crops), PATCHES, device=images.device).argsort(1)
        with halves(images.device), attention(images.device):
            seen = self.seen(crops, order[:, :VISIBLE])
            looks = self.look(torch.cat([seen[:, 0], seen[:, 1:].mean(1)], -1))
            told = self.completed(seen[: len(images), 1:], order[: len(images)])
        own = torch.arange(len(images), device=images.device)[:, None]
        asked = order[: len(images), VISIBLE:]
        error = told.float() - picked(patches(crops[: len(images)]), asked)
        one, other = looks.chunk(2)
        return contrast(one, other, own, COLDNESS) + PIXEL_WEIGHT * error.square().mean()

    def seen(self, images: Tensor, places: Tensor) -> Tensor:
        """Normed tokens of the tower, which is shown the patches at `places` [B,n] alone. [B,1+n,96]."""
        tokens = self.tower.embeddings(images)
        tokens = torch.cat([tokens[:, :1], picked(tokens[:, 1:], places)], 1)
        return self.tower.layernorm(self.tower.encoder(tokens, attention_mask=None).last_hidden_state)

    def completed(self, tokens: Tensor, order: Tensor) -> Tensor:
        """Pixels of the patches that come last in `order` [B,64], from the tokens of those that come first. [B,hidden,768]."""
        holes = self.hole.to(tokens.dtype).expand(len(tokens), PATCHES - VISIBLE, WIDTH)
        whole = torch.cat([tokens, holes], 1) + self.places[order]
        return self.pixels(self.painter(whole)[:, VISIBLE:])


def picked(tokens: Tensor, places: Tensor) -> Tensor:
    """Tokens [B,N,d] at places [B,n]. [B,n,d]."""
    return tokens.gather(1, places[..., None].expand(-1, -1, tokens.shape[-1]))


def train(
    folder: Path,
    schedule: Schedule = SMALL.schedule,
    pool: int = SMALL.pool,
    progress: Progress | None = None,
    device: str = "cpu",
) -> Dinov2Model:
    """Train, or go on from the checkpoint in `folder`."""
    torch.manual_seed(schedule.seed + 41)
    learner = Learner().to(device)
    table = draw_table(schedule.seed + 42, pool, mixture=MIXTURE).to(device)
    groups = kinds(table)
    images = paint(table)

    def step() -> Tensor:
        return learner(signed(images[alike(groups, schedule.batch_size)]))

    Training("dino", learner, schedule, folder).run(step, progress)
    return learner.tower
