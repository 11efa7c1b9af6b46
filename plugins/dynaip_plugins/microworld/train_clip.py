"""The tiny CLIP whose vision tower encodes references: contrastive training on captions."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

from dynaip.training.plain_attention import PlainAttention

from . import tokens
from .pool import draw, pixels, unit
from .render import SIZE
from .training import Plan, Progress, Training
from .vocabulary import MAX_TOKENS
from .world import prompt

WIDTH, LAYERS, PATCH = 112, 6, 8
PLAN = Plan(steps=2000, batch_size=96, learning_rate=1e-3, hold=0.4, weight_decay=0.05, warmup=200)
POOL = 32_768
MIXTURE = {1: 0.85, 2: 0.15}
DENSE = 0.7
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


def contrast(model: CLIPModel, images: Tensor, ids: Tensor) -> Tensor:
    """Symmetric cross entropy over the batch; captions that are equal count as right answers together."""
    with torch.autocast("cpu", torch.bfloat16), PlainAttention():
        out = model(input_ids=ids, pixel_values=images)
    logits = out.logits_per_image.float()
    same = (ids[:, None] == ids[None]).all(-1).float()
    target = same / same.sum(1, keepdim=True)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """A little noise and a little gain; [B,3,64,64] in [0, 1] -> [-1, 1]."""
    size = (len(images), 1, 1, 1)
    gain = 1 + 0.05 * torch.randn(size, generator=generator)
    strength = 0.05 * torch.rand(size, generator=generator)
    return (images * gain + strength * torch.randn(images.shape, generator=generator)).clamp(0, 1) * 2 - 1


def train(folder: Path, plan: Plan = PLAN, pool: int = POOL, progress: Progress | None = None) -> CLIPModel:
    """Train, or go on from the checkpoint in `folder`."""
    torch.manual_seed(plan.seed + 31)
    model = create()
    scenes = draw(plan.seed + 32, pool, mixture=MIXTURE)
    images, tokenizer = pixels(scenes), tokens.create()
    plain, dense = (tokens.encode(tokenizer, [prompt(s, d) for s in scenes]) for d in (False, True))

    def step(generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(scenes), (plan.batch_size,), generator=generator)
        full = torch.rand(plan.batch_size, 1, generator=generator) < DENSE
        ids = torch.where(full, dense[rows], plain[rows])
        return contrast(model, augment(unit(images[rows]), generator), ids)

    Training("clip", model, plan, folder).run(step, progress)
    model.logit_scale.data.clamp_(max=4.6052)
    return model


def save(model: CLIPModel, folder: Path) -> None:
    """Write the model in half precision with its image processor and tokenizer."""
    model.half().save_pretrained(folder)
    model.float()
    processor().save_pretrained(folder)
    tokens.create().save_pretrained(folder)
