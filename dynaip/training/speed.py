"""How a step is computed: gradient checkpointing, compiled blocks, determinism."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


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
    with accelerator.autocast(), norms_of_two_types():
        yield


@contextmanager
def norms_of_two_types() -> Generator[None]:
    """Under autocast norms stay in float32 and meet halves, which is meant: torch need not warn of it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Mismatch dtype between input and weight")
        yield
