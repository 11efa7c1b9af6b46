"""The base's pool: latents, prompts and hints of many scenes, computed once and kept in memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from ...shared.latents import packed
from ..models import autoencoder, tokens
from ..models.pixels import pixels
from ..world.scenes import Scene, draw, prompt
from ..world.vocabulary import MAX_TOKENS
from .hints import Hints, make_hints
from .loop import save_atomically

NO_PROMPT, DENSE = 0.1, 0.6
CODED_AT_ONCE = 2048


@dataclass(frozen=True, slots=True)
class Pool:
    """Everything a step needs, computed once: packed latents and prompts in both forms."""

    latents: Tensor
    plain: Tensor
    dense: Tensor
    hints: Hints

    def batch(self, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Latents [B,64,16], ids [B,24] (mostly dense, a tenth empty) and hints [B,64,A]."""
        rows = torch.randint(len(self.latents), (size,), generator=generator)
        choice = torch.rand(size, 1, generator=generator)
        ids = torch.where(choice < DENSE, self.dense[rows], self.plain[rows]).long()
        silent = torch.rand(size, 1, generator=generator) < NO_PROMPT
        empty = torch.full((MAX_TOKENS,), tokens.PAD).index_copy(
            0, torch.tensor([0, 1]), torch.tensor([tokens.START, tokens.END])
        )
        return self.latents[rows].float(), torch.where(silent, empty, ids), self.hints.of(rows)


def prompt_ids(scenes: list[Scene], dense: bool) -> Tensor:
    """Ids of the scenes' prompts; dense ones only where they fit. [B,24] int16."""
    texts = [prompt(scene, dense and len(scene.subjects) <= 2) for scene in scenes]
    return tokens.encode(tokens.create(), texts).to(torch.int16)


def packed_latents(vae: AutoencoderKL, scenes: list[Scene]) -> Tensor:
    """Render, encode and pack. [N,64,16] in half precision."""
    parts = []
    for start in range(0, len(scenes), CODED_AT_ONCE):
        images = pixels(scenes[start : start + CODED_AT_ONCE])
        with torch.autocast("cpu", torch.bfloat16):
            latents = autoencoder.encode(vae, images)
        parts.append(packed(latents.float()).half())
    return torch.cat(parts)


def make_pool(vae: AutoencoderKL, seed: int, count: int, file: Path) -> Pool:
    """Draw `count` scenes; their latents come from `file`, which is made first where it is missing."""
    scenes = draw(seed, count)
    if not file.exists():
        save_atomically(packed_latents(vae, scenes), file)
    latents = torch.load(file, weights_only=True)
    return Pool(latents, prompt_ids(scenes, dense=False), prompt_ids(scenes, dense=True), make_hints(scenes))
