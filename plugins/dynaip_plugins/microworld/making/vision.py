"""The tiny CLIP whose vision tower encodes references: trained on captions, of the image and of its regions.

In small batches background, place and size tell captions apart, and nothing makes the tower look at subjects. So batches hold
scenes of few contexts (hard negatives), and every patch is also matched with the words for the subject that covers it, as
region-level CLIPs do (after Zhong et al. 2022, "RegionCLIP"; ours: a linear head, which is not part of the model).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPModel

from dynaip.adapter.differentiable import PlainAttention

from ..models import tokens
from ..models.pixels import pixels, unit
from ..models.vision import WIDTH, create
from ..world.scenes import Scene, draw, prompt
from ..world.vocabulary import SAID
from .hints import HintHead, make_hints
from .loop import Progress, Schedule, Training

SCHEDULE = Schedule(steps=4500, batch_size=48, learning_rate=1e-3, hold=0.4, weight_decay=0.05, warmup=100)
POOL = 32_768
MIXTURE = {1: 0.85, 2: 0.15}
DENSE = 0.8
CONTEXTS = 4
"""Contexts (background, places and sizes) that share a batch."""
REGION_WEIGHT = 4.0


def contrast(logits: Tensor, ids: Tensor) -> Tensor:
    """Symmetric cross entropy of logits [B,B]; captions [B,24] that are equal count as right answers together."""
    same = (ids[:, None] == ids[None]).all(-1).float()
    target = same / same.sum(1, keepdim=True)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """A little noise and a little gain; [B,3,64,64] in [0, 1] -> [-1, 1]."""
    size = (len(images), 1, 1, 1)
    gain = 1 + 0.05 * torch.randn(size, generator=generator)
    strength = 0.05 * torch.rand(size, generator=generator)
    return (images * gain + strength * torch.randn(images.shape, generator=generator)).clamp(0, 1) * 2 - 1


class Learner(nn.Module):
    """CLIP and the head that names what a patch shows."""

    def __init__(self) -> None:
        super().__init__()
        self.clip, self.head = create(), HintHead(WIDTH, tuple(SAID))

    def forward(self, images: Tensor, ids: Tensor, regions: Tensor) -> Tensor:
        """Contrast of images [B,3,64,64] with captions `ids` [B,24], and of patches with `regions` [B,64,A]."""
        with torch.autocast("cpu", torch.bfloat16), PlainAttention():
            out = self.clip(input_ids=ids, pixel_values=images)
        patches = out.vision_model_output.last_hidden_state[:, 1:]
        return contrast(out.logits_per_image.float(), ids) + REGION_WEIGHT * self.head(patches, regions)


def contexts(scenes: Sequence[Scene]) -> list[Tensor]:
    """Rows of the scenes of every context."""
    found: dict[tuple[object, ...], list[int]] = {}
    for row, scene in enumerate(scenes):
        key = (scene.background, *((one.place, one.size) for one in scene.subjects))
        found.setdefault(key, []).append(row)
    return [torch.tensor(rows) for rows in found.values()]


def batch_of(groups: list[Tensor], size: int, generator: torch.Generator) -> Tensor:
    """Rows of a batch: CONTEXTS contexts, chosen as often as they occur, with equally many scenes each. [B]."""
    often = torch.tensor([float(len(group)) for group in groups])
    chosen = torch.multinomial(often, CONTEXTS, generator=generator)
    shares = [size // CONTEXTS + (k < size % CONTEXTS) for k in range(CONTEXTS)]
    rows = [
        groups[context][torch.randint(len(groups[context]), (share,), generator=generator)]
        for context, share in zip(chosen.tolist(), shares, strict=True)
    ]
    return torch.cat(rows)


def train(folder: Path, schedule: Schedule = SCHEDULE, pool: int = POOL, progress: Progress | None = None) -> CLIPModel:
    """Train, or go on from the checkpoint in `folder`."""
    torch.manual_seed(schedule.seed + 31)
    learner = Learner()
    scenes = draw(schedule.seed + 32, pool, mixture=MIXTURE)
    images, tokenizer, groups, regions = pixels(scenes), tokens.create(), contexts(scenes), make_hints(scenes)
    plain, dense = (tokens.encode(tokenizer, [prompt(s, d) for s in scenes]) for d in (False, True))

    def step(generator: torch.Generator) -> Tensor:
        rows = batch_of(groups, schedule.batch_size, generator)
        full = torch.rand(schedule.batch_size, 1, generator=generator) < DENSE
        ids = torch.where(full, dense[rows], plain[rows])
        return learner(augment(unit(images[rows]), generator), ids, regions.of(rows))

    Training("clip", learner, schedule, folder).run(step, progress)
    learner.clip.logit_scale.data.clamp_(max=4.6052)
    return learner.clip
