"""Pools of scenes on the device that learns from them: made once, drawn from at every step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from ...shared.latents import packed
from ..models import autoencoder
from ..world.render import paint
from ..world.table import Table
from .hints import Hints, make_hints
from .words import empty_ids, prompt_ids

NO_PROMPT, DENSE_SHARE = 0.1, 0.6
AT_ONCE = 1024
"""Scenes that are drawn and encoded at once."""


def halves(device: torch.device) -> torch.autocast:
    """Products in bfloat16. Casts are not kept between calls, since a captured graph must make them itself."""
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)


def laid_out(model: nn.Module, form: torch.memory_format) -> None:
    """Keep a model's kernels in another order in memory."""
    moved: Any = model  # torch's types do not know that this may be asked alone
    moved.to(memory_format=form)


def some(count: int, size: int, device: torch.device) -> Tensor:
    """Rows of a batch of `size` from a pool of `count`, by chance. [size]."""
    return torch.randint(count, (size,), device=device)


def packed_latents(vae: AutoencoderKL, table: Table) -> Tensor:
    """Draw, encode and pack. [N,64,32] in half precision."""
    parts: list[Tensor] = []
    for start in range(0, len(table), AT_ONCE):
        with halves(table.device):
            latents = autoencoder.encode(vae, paint(table[start : start + AT_ONCE]), chunk=AT_ONCE)
        parts.append(packed(latents).half())
    return torch.cat(parts)


@dataclass(frozen=True, slots=True)
class Pool:
    """Everything that a step of the base needs: packed latents, prompts in both forms, and hints."""

    latents: Tensor
    plain: Tensor
    dense: Tensor
    empty: Tensor
    hints: Hints

    @classmethod
    def of(cls, table: Table, latents: Tensor) -> Pool:
        """The pool of scenes whose latents are known, on the latents' device."""
        table = table.to(latents.device)
        plain, dense = (prompt_ids(table, dense).to(torch.int16) for dense in (False, True))
        return cls(latents, plain, dense, empty_ids(latents.device), make_hints(table))

    def batch(self, size: int) -> tuple[Tensor, Tensor, Tensor]:
        """Latents [B,64,32], ids [B,24] (mostly dense, a tenth empty) and hints [B,64,A]."""
        device = self.latents.device
        rows = some(len(self.latents), size, device)
        choice, silent = torch.rand(2, size, 1, device=device)
        ids = torch.where(choice < DENSE_SHARE, self.dense[rows], self.plain[rows]).long()
        return self.latents[rows].float(), torch.where(silent < NO_PROMPT, self.empty, ids), self.hints.of(rows)
