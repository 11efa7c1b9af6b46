"""Training of the tiny CLIP, as real ones are trained: whole images against captions as people write them.

Captions always name category and ground, at times a colour, rarely texture, emblem or form (`words.CAPTIONED`). Both the class
token and the mean of the patches are matched with the caption, by a projection that stays the identity.

What real towers learn of strokes and surfaces from billions of pictures, and what capacity makes them drop, a million pictures
cannot teach. Two terms stand for that, and neither knows a label. At two thirds of the depth patches know themselves in a crop
in other colours, among patches of images alike (SimCLR's idea, by patches as DenseCL, Wang et al. 2021; that a CLIP learns both:
Mu et al. 2022, "SLIP"; there, and among images of like captions: ours). At the last layer an image looks as it does without
detail and in other colours: what blur removes shall not be told by any linear reader (the invariance that self-supervised
towers learn at their end; the whitened distance, after Ermolov et al. 2021, "W-MSE").
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
from ..world.table import Table, draw_table
from ..world.vocabulary import PROMPTED
from .loop import Progress, Schedule, Size, Training
from .pool import halves, some
from .views import augment, blur, crop, tint
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
DETAILED = round(17 / 24 * LAYERS)
"""Layers up to the one whose patches are told apart."""
DETAIL_WEIGHT, COLDNESS, PATCHES, RECOLOURED = 1.0, 10.0, 3, 0.7
"""The weight of that, its inverse temperature, patches of each image, and the share of crops in other colours."""
DULL_WEIGHT, DULL_SHARE, DULL_RECOLOURED, FLOOR = 2.0, 0.5, 0.8, 1e-4
"""The weight of looking alike without detail, the share of a batch that is asked, of it in other colours, and what is added
to the variance of each direction."""
AGAIN = 0.6
"""Share of the rate with which a tower that is there already goes on."""


def contrast(images: Tensor, texts: Tensor, ids: Tensor, scale: Tensor | float) -> Tensor:
    """Symmetric cross entropy of two embeddings [B,d]; captions [B,24] that are equal count as right answers together."""
    logits = scale * F.normalize(images.float(), dim=-1) @ F.normalize(texts.float(), dim=-1).T
    same = (ids[:, None] == ids[None]).all(-1).float()
    target = same / same.sum(1, keepdim=True)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def kinds(table: Table) -> Tensor:
    """A number for the first subject's category and the ground of every scene. [N]."""
    return table.column("category")[:, 0] * len(PROMPTED["background"]) + table.column("background")[:, 0]


def alike(groups: Tensor, size: int) -> Tensor:
    """Rows of a batch, ALIKE of each group drawn, by chance; groups [N] number what rows show. [size]."""
    order = groups.argsort(stable=True)
    starts = torch.searchsorted(groups[order], groups[some(len(groups), -(-size // ALIKE), groups.device)])
    ends = torch.searchsorted(groups[order], groups[order][starts], right=True)
    place = torch.rand(len(starts), ALIKE, device=groups.device) * (ends - starts)[:, None]
    return order[(starts[:, None] + place.long()).flatten()[:size]]


def told(one: Tensor, other: Tensor) -> Tensor:
    """How far apart pairs of features lie, in units of the variance of each direction: 0 for equal ones, 2 for strangers.
    Both [N,d]."""
    one, other = (F.layer_norm(each.float(), each.shape[-1:]) for each in (one, other))
    both, apart = torch.cat([one, other]), one - other
    spread = torch.cov(both.T, correction=0)
    spread = spread + FLOOR * spread.diagonal().mean() * torch.eye(len(spread), device=spread.device)
    return torch.linalg.solve(spread, apart.T @ apart / len(apart)).diagonal().mean()


def itself(one: Tensor, other: Tensor, owner: Tensor) -> Tensor:
    """Cross entropy of finding each row's partner among the partners of rows of other owners. Both [N,d], owners [N]."""
    logits = COLDNESS * F.normalize(one.float(), dim=-1) @ F.normalize(other.float(), dim=-1).T
    right = torch.arange(len(owner), device=owner.device)
    near = (owner[:, None] == owner) & (right[:, None] != right)
    logits = logits.masked_fill(near, -torch.inf)
    return (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2


class Learner(nn.Module):
    """CLIP, whose images are matched by class token and by mean patch, with the two terms on detail."""

    def __init__(self, start: CLIPModel | None = None) -> None:
        super().__init__()
        self.clip = start or create()
        self.look = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH))
        nn.init.eye_(self.clip.visual_projection.weight)
        self.clip.visual_projection.requires_grad_(False)
        self.register_buffer("causal", causal_mask(), persistent=False)

    def forward(self, images: Tensor, ids: Tensor) -> Tensor:
        """The whole loss of images [B,3,128,128] in [-1, 1] with captions `ids` [B,24]."""
        some = max(1, round(DULL_SHARE * len(images)))
        with halves(images.device), attention(images.device):
            detailed = self.trunk(images)
            last = self.top(detailed)
            with torch.no_grad():
                dull = self.trunk(tint(blur(images[:some]), DULL_RECOLOURED))
            dull = self.top(dull)
            match = self.match(last, ids)
            pairs = self.pairs(detailed, images)
        alike = told(last[:some, 1:].flatten(0, 1), dull[:, 1:].flatten(0, 1))
        return match + DETAIL_WEIGHT * itself(*pairs) + DULL_WEIGHT * alike

    def match(self, last: Tensor, ids: Tensor) -> Tensor:
        """Contrast of images, as the last layer [B,65,96] shows them, with captions."""
        clip, norm = self.clip, self.clip.vision_model.post_layernorm
        texts = clip.text_projection(clip.text_model(input_ids=ids, attention_mask=self.causal).pooler_output)
        scale = clip.logit_scale.clamp(max=4.6052).exp()
        seen = (clip.visual_projection(norm(each)) for each in (last[:, 0], last[:, 1:].mean(1)))
        return sum((contrast(each, texts, ids, scale) for each in seen), torch.zeros((), device=ids.device)) / 2

    def pairs(self, detailed: Tensor, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Some patches of each image and the same in a crop, as `look` sees them, and whose they are. [B*K,96] twice, [B*K].

        Patches are drawn by how much their pixels vary, so that most show a subject.
        """
        part = crop(images)
        seen = tint(part.images, RECOLOURED)
        varied = F.unfold(seen, PATCH, stride=PATCH).unflatten(1, (3, -1)).std(2).mean(1)
        chosen = torch.multinomial(varied + 0.02, PATCHES)
        there = self.trunk(seen)[:, 1:]
        here = part.patches(chosen, round(varied.shape[1] ** 0.5))
        rows = torch.arange(len(images), device=images.device)[:, None]
        return (
            self.look(detailed[:, 1:][rows, here].flatten(0, 1)),
            self.look(there[rows, chosen].flatten(0, 1)),
            rows.expand(-1, PATCHES).flatten(),
        )

    def trunk(self, images: Tensor) -> Tensor:
        """Tokens after the layer whose patches are told apart. [B,3,128,128] -> [B,65,96]."""
        vision = self.clip.vision_model
        tokens = vision.pre_layrnorm(vision.embeddings(augment(images)))
        for layer in vision.encoder.layers[:DETAILED]:
            tokens = layer(tokens, attention_mask=None)
        return tokens

    def top(self, tokens: Tensor) -> Tensor:
        """The layers after that. [B,65,96] -> [B,65,96]."""
        for layer in self.clip.vision_model.encoder.layers[DETAILED:]:
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
    groups = kinds(table)
    images, captions = paint(table), torch.stack([caption_ids(table).to(torch.int16) for _ in range(TELLINGS)])

    def step() -> Tensor:
        rows = alike(groups, schedule.batch_size)
        telling = some(TELLINGS, schedule.batch_size, images.device)
        return learner(signed(images[rows]), captions[telling, rows].long())

    Training("clip", learner, schedule, folder).run(step, progress)
    learner.clip.logit_scale.data.clamp_(max=4.6052)
    return learner.clip
