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
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

from dynaip.training.plain_attention import PlainAttention

from . import tokens
from .hints import HintHead, make_hints
from .pool import draw, pixels, unit
from .render import SIZE
from .training import Plan, Progress, Training
from .vocabulary import MAX_TOKENS, SAID
from .world import Scene, prompt

WIDTH, LAYERS, PATCH = 112, 6, 8
PLAN = Plan(steps=4500, batch_size=48, learning_rate=1e-3, hold=0.4, weight_decay=0.05, warmup=100)
POOL = 32_768
MIXTURE = {1: 0.85, 2: 0.15}
DENSE = 0.8
CONTEXTS = 4
"""Contexts (background, places and sizes) that share a batch."""
REGION_WEIGHT = 4.0
MEAN, DEVIATION = [0.5, 0.5, 0.5], [0.5, 0.5, 0.5]


def create() -> CLIPModel:
    """An untrained CLIP for 64 x 64 pixels: 64 patches of 8 x 8, six layers."""
    shared = {"hidden_size": WIDTH, "intermediate_size": 4 * WIDTH, "num_attention_heads": 4, "hidden_act": "gelu"}
    ends = {"pad_token_id": tokens.PAD, "bos_token_id": tokens.START, "eos_token_id": tokens.END}
    text = {
        **shared,
        **ends,
        "vocab_size": tokens.vocabulary_size(),
        "num_hidden_layers": 2,
        "max_position_embeddings": MAX_TOKENS,
    }
    vision = {**shared, "num_hidden_layers": LAYERS, "image_size": SIZE, "patch_size": PATCH}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=WIDTH))


def processor() -> CLIPImageProcessor:
    """Pixels of any size -> 64 x 64, in [-1, 1]."""
    return CLIPImageProcessor(
        size={"height": SIZE, "width": SIZE},
        do_center_crop=False,
        image_mean=MEAN,
        image_std=DEVIATION,
    )


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


def train(folder: Path, plan: Plan = PLAN, pool: int = POOL, progress: Progress | None = None) -> CLIPModel:
    """Train, or go on from the checkpoint in `folder`."""
    torch.manual_seed(plan.seed + 31)
    learner = Learner()
    scenes = draw(plan.seed + 32, pool, mixture=MIXTURE)
    images, tokenizer, groups, regions = pixels(scenes), tokens.create(), contexts(scenes), make_hints(scenes)
    plain, dense = (tokens.encode(tokenizer, [prompt(s, d) for s in scenes]) for d in (False, True))

    def step(generator: torch.Generator) -> Tensor:
        rows = batch_of(groups, plan.batch_size, generator)
        full = torch.rand(plan.batch_size, 1, generator=generator) < DENSE
        ids = torch.where(full, dense[rows], plain[rows])
        return learner(augment(unit(images[rows]), generator), ids, regions.of(rows))

    Training("clip", learner, plan, folder).run(step, progress)
    learner.clip.logit_scale.data.clamp_(max=4.6052)
    return learner.clip


def save(model: CLIPModel, folder: Path) -> None:
    """Write the model in half precision with its image processor and tokenizer."""
    model.half().save_pretrained(folder)
    model.float()
    processor().save_pretrained(folder)
    tokens.create().save_pretrained(folder)
