"""How much memory there is."""

from __future__ import annotations

import os
from pathlib import Path

import torch


def machine_memory() -> int:
    """Memory of this machine, or of the container that this process is in, in bytes."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(total, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    except (OSError, ValueError):  # no such group, or "max"
        return total


CONTEXT = 966_367_641
"""What a process takes of an accelerator beside its tensors: the driver's context, libraries, workspaces."""


def free_memory(device: torch.device) -> int:
    """Bytes of a GPU that this process could have in all: what others left, with what it holds already, and its context."""
    free, total = torch.cuda.mem_get_info(device)
    return min(int(total), int(free) + torch.cuda.memory_reserved(device) + CONTEXT)
