"""One rule for devices: the accelerator where there is one, unless somebody names another.

``auto`` takes what ``DYNAIP_DEVICE`` names, or else torch's accelerator (CUDA, ROCm, MPS, XPU), or else the CPU. A name is
what torch calls a device (``cpu``, ``cuda``, ``cuda:1``, ``mps``, ``xpu``); one that is not there is refused in one line.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from dynaip.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from torch import Tensor

VARIABLE = "DYNAIP_DEVICE"
"""Environment variable that says what ``auto`` means; processes that we start inherit it."""
AUTO = "auto"
OFFLOAD = "DYNAIP_OFFLOAD"
"""Environment variable that says where the parts of a pipeline lie that are not at work; inherited likewise."""
OFFLOADING = {"none": None, "model": "enable_model_cpu_offload", "sequential": "enable_sequential_cpu_offload"}
"""Ways of offloading -> diffusers' method: whole models, or single layers (least memory, slowest)."""


def choose(name: Any = AUTO) -> torch.device:
    """Give the device that a name stands for; ``InputError`` names those there are if it is not here."""
    import torch

    if isinstance(name, torch.device):
        return _present(name, str(name))
    wanted = str(name).strip().lower()
    wanted = os.environ.get(VARIABLE, AUTO).strip().lower() or AUTO if wanted == AUTO else wanted
    if wanted == AUTO:
        found = torch.accelerator.current_accelerator(check_available=True)
        return torch.device("cpu") if found is None else torch.device(found.type)
    try:
        return _present(torch.device(wanted), wanted)
    except RuntimeError as error:
        raise InputError(f"device {wanted!r} is no device; there are {', '.join(names())}") from error


def use(name: str, offload: str | None = None) -> None:
    """Make a device what ``auto`` means, in this process and in those that it starts; ``auto`` itself changes nothing.

    ``offload`` (none, model, sequential) likewise says how pipelines are loaded that only generate.
    """
    if name.strip().lower() != AUTO:
        chosen = choose(name)
        os.environ[VARIABLE] = str(chosen)
        make_current(chosen)
    if offload is not None:
        os.environ[OFFLOAD] = _way(offload)


def make_current(device: torch.device) -> None:
    """Let streams, events and pinned memory that name no device belong to this one, if it has a number."""
    if ":" in str(device) and device.type not in ("cpu", "meta"):
        import torch

        torch.accelerator.set_device_index(device.index)


def load_on(backbone: Any, device: torch.device, dtype: torch.dtype | None = None) -> Any:
    """Load a backbone's pipeline to generate with, on a device or offloaded from it as was chosen.

    Raises ``InputError`` where offloading is asked for on a CPU.
    """
    way = OFFLOADING[_way(os.environ.get(OFFLOAD, "none"))]
    dtype = dtype or default_dtype(device)
    if way is None:
        return backbone.load(device=device, dtype=dtype)
    if device.type == "cpu":
        raise InputError(
            "offloading keeps what is not at work off the accelerator, and this device is a CPU: leave it out"
        )
    pipe = backbone.load(device="cpu", dtype=dtype)
    getattr(pipe, way)(device=device)
    return pipe


def _way(offload: str) -> str:
    if offload not in OFFLOADING:
        raise InputError(f"offload {offload!r} must be one of {', '.join(OFFLOADING)}")
    return offload


def names() -> list[str]:
    """Names of the devices of this machine, the CPU first."""
    import torch

    found = torch.accelerator.current_accelerator(check_available=True)
    count = torch.accelerator.device_count() if found else 0
    return ["cpu", *([] if found is None else [f"{found.type}:{number}" for number in range(count)])]


def _present(device: torch.device, wanted: str) -> torch.device:
    if device.type in ("cpu", "meta"):
        return device
    there = names()
    if f"{device.type}:{device.index or 0}" not in there:
        raise InputError(f"device {wanted!r} is not on this machine; there are {', '.join(there)}")
    return device


def default_dtype(device: torch.device) -> torch.dtype:
    """Type of a pipeline that only generates: float32 on a CPU, bfloat16 on what computes it faster."""
    import torch

    return torch.float32 if device.type == "cpu" else torch.bfloat16


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """Send a tensor of the host; to CUDA through pinned memory, so that the host goes on meanwhile.

    A plain copy waits until everything that was launched before it has run.
    """
    if device.type == "cuda" and values.device.type == "cpu":
        values = values.pin_memory()
    return values.to(device, non_blocking=device.type in ("cuda", "meta"))  # on meta, for tests that look for copies


class ToHost:
    """A copy on the host that arrives beside what is launched next: asking the tensor itself would wait for that, too."""

    def __init__(self, values: Tensor) -> None:
        import torch

        self._values, self._arrived = values, None
        if values.is_cuda:
            self._values = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            self._values.copy_(values, non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record(torch.cuda.current_stream(values.device))  # which need not be the current device's

    def read(self) -> Tensor:
        """The values, once they are there."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._values


def rows_of(values: Tensor, places: Sequence[int]) -> Tensor:
    """``values[places]`` without waiting for the device that they lie on; ``values`` themselves for all rows in order."""
    if list(places) == list(range(len(values))):
        return values
    import torch

    return values[to_device(torch.tensor(places, dtype=torch.long), values.device)]


def peak_memory() -> tuple[str, float]:
    """Name of the device that `auto` means, and the most memory that this process had there at any time, in GB."""
    import torch

    device = choose()
    if device.type == "cuda":
        return torch.cuda.get_device_name(device), round(torch.cuda.max_memory_allocated(device) / 1e9, 2)
    try:
        import resource
    except ImportError:  # Windows
        return str(device), float("nan")
    unit = 1 if sys.platform == "darwin" else 1024
    return str(device), round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9, 2)
