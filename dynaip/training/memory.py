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


def free_memory(device: torch.device) -> int:
    """Bytes that are free on an accelerator; on a CPU all that the machine has."""
    return int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else machine_memory()
