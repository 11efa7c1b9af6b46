"""How a step is computed: what is kept for the backward pass, compiled blocks, determinism, and copies that do not wait."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dynaip.training.memory import free_memory

COPIES = 14
"""Activations of a token that a block keeps for its backward pass, in model widths (measured on FLUX)."""
ROOM = 0.8
"""Share of the free memory that they may take."""


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """Send a tensor of the host; to CUDA through pinned memory, so that the host goes on meanwhile."""
    if device.type == "cuda" and values.device.type == "cpu":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


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


@contextmanager
def told_when_full(tell: Callable[[], str]) -> Generator[None]:
    """Add what ``tell`` says to the error of a device whose memory is full."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        if told := tell():
            error.add_note(told)
        raise


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


def checkpoint(transformer: nn.Module, on: bool) -> None:
    """Switch gradient checkpointing of diffusers' models."""
    model: Any = transformer
    if on:
        model.enable_gradient_checkpointing()
    elif getattr(model, "is_gradient_checkpointing", False):
        model.disable_gradient_checkpointing()


def compiled_graphs() -> int:
    """Graphs that torch has compiled in this process so far."""
    import torch._dynamo.utils as dynamo

    return int(dynamo.counters["stats"].get("unique_graphs", 0))


@contextmanager
def compiled_blocks(transformer: nn.Module, on: bool, tell: Callable[[str], None]) -> Generator[None]:
    """Compile the repeated blocks while the context is open; graphs beyond the first step's are counted and told."""
    if not on:
        yield
        return
    model: Any = transformer
    model.compile_repeated_blocks()
    before = compiled_graphs()
    try:
        yield
    finally:
        for module in model.modules():
            module._compiled_call_impl = None
        tell(
            f"compiled {compiled_graphs() - before} graphs of the blocks; more than one a kind of block are recompiles"
        )


def reserve_workspace(deterministic: bool) -> None:
    """Give cuBLAS the workspace that deterministic products need, which it reads when it is first used."""
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@contextmanager
def determinism(on: bool) -> Generator[None]:
    """Let torch use algorithms alone that give the same bits in every run, and refuse where there are none."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(on or before)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


@contextmanager
def products_in(accelerator: Any, device: torch.device) -> Generator[None]:
    """Precision of the base's pass.

    On an accelerator the base is in its own type, and the adapter casts its products to it: nothing is decided by autocast.
    On a CPU the base stays in float32, and autocast lowers its products; its norms then meet two types, which is meant.
    """
    if device.type != "cpu":
        yield
        return
    with accelerator.autocast(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Mismatch dtype between input and weight")
        yield
