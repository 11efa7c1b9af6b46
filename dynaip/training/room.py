"""What a step takes of the memory: whether blocks keep everything for the backward pass, and what to change where it is full."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dynaip.training.memory import free_memory
from dynaip.training.speed import checkpoint

COPIES = 14
"""Activations of a token that a block keeps for its backward pass, in model widths (measured on FLUX)."""
ROOM = 0.8
"""Share of the free memory that they may take."""


@dataclass
class StepRoom:
    """Chosen at the first batch of a training, which tells how large its steps are."""

    setting: bool | Literal["auto"]
    """``training.gradient_checkpointing``."""
    checkpointing: bool | None = None
    """Whether blocks are computed again in the backward pass; None until the first batch."""
    told: str = ""
    """What a step takes, what is free, and which settings lower the need."""

    def choose(
        self, transformer: nn.Module, text: Mapping[str, Tensor], latents: Tensor, trained: Sequence[Tensor]
    ) -> bool:
        """Switch gradient checkpointing at the first batch; whether its step will hardly fit."""
        if self.checkpointing is not None:
            return False
        embeds = max(text.values(), key=lambda values: values.ndim)
        tokens = len(latents) * (latents.shape[1] + embeds.shape[1])
        self.checkpointing = wants_checkpointing(self.setting, transformer, tokens, trained)
        checkpoint(transformer, self.checkpointing)
        self.told, fits = told_need(transformer, tokens, trained, checkpointing=self.checkpointing)
        return not fits

    @contextmanager
    def told_when_full(self) -> Generator[None]:
        """Add the estimate to the error of a device whose memory is full."""
        try:
            yield
        except torch.OutOfMemoryError as error:
            if self.told:
                error.add_note(self.told)
            raise


def wants_checkpointing(
    setting: bool | Literal["auto"], transformer: nn.Module, tokens: int, trained: Sequence[Tensor] = ()
) -> bool:
    """Whether blocks are computed again in the backward pass, for ``tokens`` (batch x image and text tokens) a step.

    ``auto`` does so where the free memory would not hold what a step takes otherwise (ours).
    """
    if setting != "auto":
        return setting
    need = step_bytes(transformer, tokens, trained, checkpointing=False)
    return need > ROOM * free_memory(next(transformer.parameters()).device)


def told_need(
    transformer: nn.Module, tokens: int, trained: Sequence[Tensor], *, checkpointing: bool
) -> tuple[str, bool]:
    """Say what a step takes, what is free and which settings lower the need; and whether it fits."""
    need = step_bytes(transformer, tokens, trained, checkpointing=checkpointing)
    free = free_memory(next(transformer.parameters()).device)
    told = (
        f"a step takes about {need / 1e9:.1f} GB of memory beside the models, and {free / 1e9:.1f} GB are free: lower "
        "training.batch_size (and raise training.gradient_accumulation), or the size of the targets"
    )
    if not checkpointing:
        less = step_bytes(transformer, tokens, trained, checkpointing=True)
        told += f", or set training.gradient_checkpointing to true (about {less / 1e9:.1f} GB)"
    return told, need <= free


def step_bytes(transformer: nn.Module, tokens: int, trained: Sequence[Tensor] = (), *, checkpointing: bool) -> int:
    """Bytes that a step takes beside the models: gradients and moments of what is trained, and what blocks keep."""
    kept = kept_bytes(transformer, tokens)
    # Computed again, the inputs of all blocks are kept, and everything of one block at a time.
    kept = kept // COPIES + kept // _blocks(transformer) if checkpointing else kept
    return kept + sum(3 * each.numel() * each.element_size() for each in trained)


def kept_bytes(transformer: nn.Module, tokens: int) -> int:
    """Bytes that all blocks keep for the backward pass (ours: measured on FLUX)."""
    config: Any = transformer.config
    width = config.num_attention_heads * config.attention_head_dim
    return tokens * _blocks(transformer) * width * COPIES * next(transformer.parameters()).element_size()


def _blocks(transformer: nn.Module) -> int:
    config: Any = transformer.config
    return config.num_layers + (getattr(config, "num_single_layers", 0) or 0)
