"""Accelerators by name: their memory and their speed, for plans of machines that are not at hand."""

from __future__ import annotations

from dataclasses import dataclass

from dynaip.errors import InputError
from dynaip.suggest import did_you_mean

GIB = 2**30


@dataclass(frozen=True)
class Machine:
    """One accelerator, or the CPU."""

    name: str
    memory: int
    """Bytes that programs can have."""
    speed: float | None
    """Dense floating-point operations a second in bf16 (fp16 where there is none), by its data sheet; None if not known."""
    accelerator: bool = True
    free: int | None = None
    """Bytes of them that a training could have now; None: all."""

    @property
    def available(self) -> int:
        """Bytes that a training can have."""
        return self.memory if self.free is None else self.free


def _machines(*rows: tuple[str, float, float]) -> dict[str, Machine]:
    return {name: Machine(name, int(gib * GIB), tera * 1e12) for name, gib, tera in rows}


MACHINES = _machines(
    ("a100-40gb", 39.4, 312), ("a100-80gb", 79.2, 312), ("h100-80gb", 79.1, 989), ("h200-141gb", 139.8, 989),
    ("b200-192gb", 178.0, 2250), ("l4-24gb", 22.0, 121), ("a10g-24gb", 22.0, 70), ("l40s-48gb", 44.4, 362),
    ("a6000-48gb", 47.4, 155), ("rtx6000ada-48gb", 47.4, 364), ("rtx3090-24gb", 23.6, 71), ("rtx4090-24gb", 23.6, 165),
    ("rtx5090-32gb", 31.3, 209), ("v100-32gb", 31.7, 112), ("t4-16gb", 14.6, 65), ("mi300x-192gb", 191.0, 1307),
)  # fmt: skip
"""Memory as the driver tells it, speed from the data sheets (dense, without sparsity)."""


def named(name: str) -> Machine:
    """The machine of a name; the part after the hyphen may be left out. ``InputError`` lists those there are."""
    wanted = name.strip().lower()
    found = [one for key, one in MACHINES.items() if key == wanted or key.partition("-")[0] == wanted]
    if len(found) == 1:
        return found[0]
    raise InputError(f"--gpu {name}: must be one of {', '.join(MACHINES)}.{did_you_mean(wanted, MACHINES)}")


def here() -> Machine:
    """The device that the device rule gives on this machine."""
    import torch

    from dynaip.device import choose
    from dynaip.training.memory import free_memory, machine_memory

    device = choose()
    if device.type != "cuda":
        return Machine(str(device), machine_memory(), None, accelerator=device.type != "cpu")
    shape = torch.cuda.get_device_properties(device)
    words = set(shape.name.lower().replace("-", " ").split())
    likely = [one for key, one in MACHINES.items() if key.partition("-")[0] in words]
    speed = likely[0].speed if likely else None
    return Machine(shape.name, int(shape.total_memory), speed, free=free_memory(device))
