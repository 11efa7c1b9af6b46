"""Training of the tiny CLIP, as real ones are trained: whole images against captions as people write them.

Captions always name category and ground, at times a colour, rarely texture, emblem or form (`words.CAPTIONED`). Both the class
token and the mean of the patches are matched with the caption, by a projection that stays the identity: what captions do not
say cannot be hidden behind it and is noise in the match, so the last layer has a reason to drop it.

What real towers learn of strokes and surfaces from billions of pictures, a million cannot teach from captions that hardly name
them. So the layer half-way also predicts pixels, those of hidden patches too (after He et al. 2022, "Masked Autoencoders Are
Scalable Vision Learners"; that a CLIP learns both: Mu et al. 2022, "SLIP"; at half depth: ours). No region has a label.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import CLIPModel

from dynaip.adapter.differentiable import differentiable_attention

from ..models.flux import causal_mask
from ..models.pixels import signed
from ..models.vision import LAYERS, PATCH, WIDTH, create
from ..world.render import paint
from ..world.table import draw_table
from .loop import Progress, Schedule, Size, Training
from .pool import halves, some
from .words import caption_ids

SMALL = Size(Schedule(steps=9000, batch_size=96, learning_rate=1e-3, hold=0.3, weight_decay=0.1), pool=24_576)
LARGE = Size(
    Schedule(steps=6000, batch_size=1024, learning_rate=1.5e-3, hold=0.3, weight_decay=0.1, warmup=300, log_every=50),
    pool=131_072,
)
"""For a CPU, and for an accelerator."""
MIXTURE = {1: 0.85, 2: 0.15}
TELLINGS = 4
"""Captions of every image of the pool."""
HIDDEN, HIDING, GREY = 0.5, 0.5, 0.0
"""Share of the patches that are greyed in an image, share of the images in which that is done, and the grey."""
PIXEL_LAYER, PIXEL_WEIGHT = LAYERS // 2, 10.0
AGAIN = 0.6
"""Share of the rate with which a tower that is there already goes on."""


def contrast(images: Tensor, texts: Tensor, ids: Tensor, scale: Tensor) -> Tensor:
    """Symmetric cross entropy of two embeddings [B,d]; captions [B,24] that are equal count as right answers together."""
    logits = scale * F.normalize(images.float(), dim=-1) @ F.normalize(texts.float(), dim=-1).T
    same = (ids[:, None] == ids[None]).all(-1).float()
    target = same / same.sum(1, keepdim=True)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def augment(images: Tensor) -> Tensor:
    """A little noise and a little gain. [B,3,128,128] in [-1, 1] -> the same."""
    size = (len(images), 1, 1, 1)
    shown = images / 2 + 0.5
    gain = 1 + 0.05 * torch.randn(size, device=images.device)
    strength = 0.04 * torch.rand(size, device=images.device)
    return (shown * gain + strength * torch.randn_like(shown)).clamp(0, 1) * 2 - 1


def patches_of(images: Tensor) -> Tensor:
    """Pixels by patch. [B,3,128,128] -> [B,64,768]."""
    return F.unfold(images, PATCH, stride=PATCH).mT


def hide(images: Tensor) -> Tensor:
    """Grey patches by chance in some of the images. [B,3,128,128] -> the same."""
    count, grid = len(images), images.shape[-1] // PATCH
    chosen = torch.rand(count, 1, 1, 1, device=images.device) < HIDING
    grey = chosen & (torch.rand(count, 1, grid, grid, device=images.device) < HIDDEN)
    return images.masked_fill(F.interpolate(grey.to(images.dtype), scale_factor=PATCH) > 0, GREY)


class Learner(nn.Module):
    """CLIP, whose images are matched by class token and by mean patch, and whose layer half-way predicts pixels."""

    def __init__(self, start: CLIPModel | None = None) -> None:
        super().__init__()
        self.clip = start or create()
        self.pixels = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3 * PATCH * PATCH))
        nn.init.eye_(self.clip.visual_projection.weight)
        self.clip.visual_projection.requires_grad_(False)
        self.register_buffer("causal", causal_mask(), persistent=False)

    def forward(self, images: Tensor, ids: Tensor) -> Tensor:
        """Contrast of images [B,3,128,128] in [-1, 1] with captions `ids` [B,24], and error of the predicted pixels."""
        clip = self.clip
        with halves(images.device), attention(images.device):
            seen = clip.vision_model(pixel_values=hide(augment(images)), output_hidden_states=True)
            texts = clip.text_projection(clip.text_model(input_ids=ids, attention_mask=self.causal).pooler_output)
            patches = clip.vision_model.post_layernorm(seen.last_hidden_state[:, 1:].mean(1))
            whole, parts = (clip.visual_projection(each) for each in (seen.pooler_output, patches))
            pixels = self.pixels(seen.hidden_states[PIXEL_LAYER][:, 1:])
        scale = clip.logit_scale.clamp(max=4.6052).exp()
        match = (contrast(whole, texts, ids, scale) + contrast(parts, texts, ids, scale)) / 2
        return match + PIXEL_WEIGHT * F.mse_loss(pixels.float(), patches_of(images))


def attention(device: torch.device) -> AbstractContextManager[object]:
    """Attention whose backward pass is right; on a CPU the plain one, since 65 tokens cost the fused one three times as much."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else differentiable_attention(device)


def train(
    folder: Path,
    schedule: Schedule = SMALL.schedule,
    pool: int = SMALL.pool,
    progress: Progress | None = None,
    device: str = "cpu",
    start: CLIPModel | None = None,
) -> CLIPModel:
    """Train, or go on from the checkpoint in `folder`; `start` is a tower that the training begins with, at a gentler rate."""
    torch.manual_seed(schedule.seed + 31)
    if start is not None:
        schedule = replace(schedule, learning_rate=AGAIN * schedule.learning_rate)
    learner = Learner(start).to(device)
    table = draw_table(schedule.seed + 32, pool, mixture=MIXTURE).to(device)
    images, captions = paint(table), torch.stack([caption_ids(table).to(torch.int16) for _ in range(TELLINGS)])

    def step() -> Tensor:
        rows = some(pool, schedule.batch_size, images.device)
        telling = some(TELLINGS, schedule.batch_size, images.device)
        return learner(signed(images[rows]), captions[telling, rows].long())

    Training("clip", learner, schedule, folder).run(step, progress)
    learner.clip.logit_scale.data.clamp_(max=4.6052)
    return learner.clip
