"""Finds what makes the host wait for a device: readings of values, and copies from the host that do not go on by themselves.

On tensors without values (``meta``) in place of a device's: what would be copied from a CPU to it waits there.
"""

from __future__ import annotations

import traceback
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

READINGS = {"aten::_local_scalar_dense", "aten::equal", "aten::nonzero", "aten::is_nonzero", "aten::unique_dim"}
"""What a device has to have finished before the host can go on."""
COPIES = {"aten::_to_copy", "aten::copy_"}


def crosses(func: Any, args: Any, kwargs: Any) -> bool:
    """Whether an operation has to bring values of the host to the device first, while the host waits."""
    tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
    host = [each for each in tensors if each.device.type == "cpu" and each.ndim]
    if func._schema.name in COPIES:
        there = [each for each in tensors if each.is_meta] or str(kwargs.get("device")) == "meta"
        blocking = not kwargs.get("non_blocking", False) and not (len(args) > 2 and args[2])
        return bool(host and there and blocking)
    return bool(host) and any(each.is_meta for each in tensors)


class Waits(TorchDispatchMode):
    """Lists what waits while it is open, the base's own waits left out."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __enter__(self) -> Any:
        # Made on the host and copied where no mode sees it.
        self.own = torch.tensor
        torch.tensor = self._made
        return super().__enter__()

    def __exit__(self, *reason: Any) -> Any:
        torch.tensor = self.own
        return super().__exit__(*reason)

    def _made(self, data: Any, *args: Any, **kwargs: Any) -> Tensor:
        if str(kwargs.get("device", "cpu")) == "meta":
            self._note("torch.tensor")
        return self.own(data, *args, **kwargs)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        read = func._schema.name in READINGS and any(
            each.is_meta for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)
        )
        if read or crosses(func, args, kwargs):
            self._note(func._schema.name)
        return func(*args, **kwargs)

    def _note(self, what: str) -> None:
        stack = [
            each for each in traceback.extract_stack() if "/torch/" not in each.filename and each.filename != __file__
        ]
        if "/diffusers/models/" not in stack[-1].filename:
            self.seen.append(f"{what} at {stack[-1].filename}:{stack[-1].lineno}")
