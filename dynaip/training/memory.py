"""What a step needs in memory, estimated before it is taken, and gradient checkpointing where it would not fit."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from dynaip.config import TrainingConfig
from dynaip.training.progress import Warn

ACTIVATIONS = 16
"""Values of the model's width that a block keeps of each token for its backward pass (FLUX on an H100: 14)."""
COMFORT = 0.8
"""Share of the free memory that activations may take before blocks are run again instead of being kept."""


def machine_memory() -> int:
    """Memory of this machine, or of the container that this process is in, in bytes."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(total, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    except (OSError, ValueError):  # no such group, or "max"
        return total


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a device; on a CPU the machine's memory."""
    return int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else machine_memory()


def step_memory(signature: Mapping[str, Any], *, tokens: int, bytes_each: int, checkpointing: bool) -> int:
    """Bytes of activations of one batch with so many ``tokens`` (image and text, all samples together), roughly."""
    blocks = int(signature["double_blocks"]) + int(signature.get("single_blocks", 0))
    kept = blocks + ACTIVATIONS if checkpointing else blocks * ACTIVATIONS
    return tokens * int(signature["width"]) * bytes_each * kept


def make_room(settings: TrainingConfig, transformer: Any, need: Any, free: int, warn: Warn) -> None:
    """Switch gradient checkpointing as the settings say, and say so where a step will hardly fit all the same.

    ``need(checkpointing)`` gives the bytes of a step.
    """
    wanted = settings.gradient_checkpointing
    on = need(False) > COMFORT * free if wanted == "auto" else wanted
    if on:
        transformer.enable_gradient_checkpointing()
    if need(on) > free:
        warn(
            f"a step takes about {need(on) / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free: lower "
            "training.batch_size (and raise training.gradient_accumulation) or the size of the targets"
        )
