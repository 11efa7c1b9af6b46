"""Training of the tiny CLIP, as real ones are trained: whole images against captions as people write them.

Captions always name category and ground, at times a colour, rarely texture, emblem or form (`words.CAPTIONED`). Both the class
token and the mean of the patches are matched with the caption, by a projection that stays the identity: what captions do not
say cannot be hidden behind it and is noise in the match, so the last layer has a reason to drop it.

What real towers learn of strokes and surfaces from billions of pictures, a million cannot teach from captions that hardly name
them. So the layer half-way also tells each image from all others by another crop of it (SimCLR; that a CLIP learns both: Mu et
al. 2022, "SLIP"; half-way, and among images of like captions: ours). No region has a label, and no identity.
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
from ..models.vision import LAYERS, WIDTH, create
from ..world.render import paint
from ..world.table import draw_table
from ..world.vocabulary import PROMPTED
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
ALIKE = 12
"""How many images of a batch show the same category on the same ground: these are told apart by detail alone."""
HALF_WAY, CROP_WEIGHT, COLDNESS, SMALLEST = LAYERS // 2, 0.5, 10.0, 0.6
"""The layer that tells crops, the weight of that, its inverse temperature, and the side of the smallest crop."""
AGAIN = 0.6
"""Share of the rate with which a tower that is there already goes on."""


def contrast(images: Tensor, texts: Tensor, ids: Tensor, scale: Tensor | float) -> Tensor:
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


def crop(images: Tensor) -> Tensor:
    """A part of each image by chance, SMALLEST of its side at least, as large as the image. [B,3,128,128] -> the same."""
    side = SMALLEST + (1 - SMALLEST) * torch.rand(len(images), 1, device=images.device)
    centre = (1 - side) * (2 * torch.rand(len(images), 2, device=images.device) - 1)
    frame = torch.diag_embed(side.expand(-1, 2))
    window = F.affine_grid(torch.cat([frame, centre[..., None]], 2), list(images.shape), align_corners=False)
    return F.grid_sample(images, window, padding_mode="border", align_corners=False)


def alike(groups: Tensor, size: int) -> Tensor:
    """Rows of a batch, ALIKE of each group drawn, by chance; groups [N] number what rows show. [size]."""
    order = groups.argsort(stable=True)
    starts = torch.searchsorted(groups[order], groups[some(len(groups), -(-size // ALIKE), groups.device)])
    ends = torch.searchsorted(groups[order], groups[order][starts], right=True)
    place = torch.rand(len(starts), ALIKE, device=groups.device) * (ends - starts)[:, None]
    return order[(starts[:, None] + place.long()).flatten()[:size]]


class Learner(nn.Module):
    """CLIP, whose images are matched by class token and by mean patch, and whose layer half-way knows crops of one image."""

    def __init__(self, start: CLIPModel | None = None) -> None:
        super().__init__()
        self.clip = start or create()
        self.look = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH))
        nn.init.eye_(self.clip.visual_projection.weight)
        self.clip.visual_projection.requires_grad_(False)
        self.register_buffer("causal", causal_mask(), persistent=False)

    def forward(self, images: Tensor, ids: Tensor) -> Tensor:
        """Contrast of images [B,3,128,128] in [-1, 1] with captions `ids` [B,24], and of crops half-way with each other."""
        clip = self.clip
        with halves(images.device), attention(images.device):
            seen = clip.vision_model(pixel_values=augment(images), output_hidden_states=True)
            texts = clip.text_projection(clip.text_model(input_ids=ids, attention_mask=self.causal).pooler_output)
            patches = clip.vision_model.post_layernorm(seen.last_hidden_state[:, 1:].mean(1))
            whole, parts = (clip.visual_projection(each) for each in (seen.pooler_output, patches))
            look, other = (
                self.look(each[:, 1:].mean(1)) for each in (seen.hidden_states[HALF_WAY], self.half_way(crop(images)))
            )
        scale = clip.logit_scale.clamp(max=4.6052).exp()
        match = (contrast(whole, texts, ids, scale) + contrast(parts, texts, ids, scale)) / 2
        own = torch.arange(len(images), device=images.device)[:, None]
        return match + CROP_WEIGHT * contrast(look, other, own, COLDNESS)

    def half_way(self, images: Tensor) -> Tensor:
        """Tokens after the layer half-way, of images that nothing after it sees. [B,3,128,128] -> [B,65,96]."""
        vision = self.clip.vision_model
        tokens = vision.pre_layrnorm(vision.embeddings(augment(images)))
        for layer in vision.encoder.layers[:HALF_WAY]:
            tokens = layer(tokens, attention_mask=None)
        return tokens


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
    groups = table.column("category")[:, 0] * len(PROMPTED["background"]) + table.column("background")[:, 0]
    images, captions = paint(table), torch.stack([caption_ids(table).to(torch.int16) for _ in range(TELLINGS)])

    def step() -> Tensor:
        rows = alike(groups, schedule.batch_size)
        telling = some(TELLINGS, schedule.batch_size, images.device)
        return learner(signed(images[rows]), captions[telling, rows].long())

    Training("clip", learner, schedule, folder).run(step, progress)
    learner.clip.logit_scale.data.clamp_(max=4.6052)
    return learner.clip
