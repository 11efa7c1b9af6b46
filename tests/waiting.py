"""Finds what makes the host wait for a device: readings of values, and copies from the host that do not go on by themselves.

On tensors without values (``meta``) in place of a device's: what would be copied from a CPU to it waits there.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

READINGS = {"aten::_local_scalar_dense", "aten::equal", "aten::nonzero", "aten::is_nonzero", "aten::unique_dim"}
"""What a device has to have finished before the host can go on."""
COPIES = {"aten::_to_copy", "aten::copy_"}
MADE = (torch.tensor, torch.as_tensor)
PLACES = (Tensor.__getitem__, Tensor.__setitem__)


def crosses(func: Any, args: Any, kwargs: Any) -> bool:
    """Whether an operation has to bring values of the host to the device first, while the host waits."""
    tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
    host = [each for each in tensors if each.device.type == "cpu" and each.ndim]
    if func._schema.name in COPIES:
        there = [each for each in tensors if each.is_meta] or str(kwargs.get("device")) == "meta"
        blocking = not kwargs.get("non_blocking", False) and not (len(args) > 2 and args[2])
        return bool(host and there and blocking)
    return bool(host) and any(each.is_meta for each in tensors)


class _Lists(TorchFunctionMode):
    """Hears of lists that become tensors of the device: torch makes them on the host and copies them unseen."""

    def __init__(self, note: Callable[[str], None]) -> None:
        super().__init__()
        self.note = note

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in MADE and str(kwargs.get("device")) == "meta":
            self.note(f"torch.{func.__name__}")
        if func in PLACES and args[0].is_meta:
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            if any(isinstance(each, list) for each in index):
                self.note("a list of places")
        return func(*args, **kwargs)


class Waits(TorchDispatchMode):
    """Lists what waits while it is open, the base's own waits left out."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.lists = _Lists(self._note)

    def __enter__(self) -> Any:
        self.lists.__enter__()
        return super().__enter__()

    def __exit__(self, *reason: Any) -> Any:
        super().__exit__(*reason)
        self.lists.__exit__(*reason)

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
