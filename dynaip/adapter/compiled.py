"""Compiled transformers: unwrapped once on entry, met from outside, and never run with code that knows no hooks."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

import torch
from torch import nn

COMPILED = "_compiled_call_impl"
"""Where a module that was compiled in place keeps its compiled call."""


def transformer_of(pipe: Any) -> nn.Module:
    """The transformer of a pipeline (or the one that is given), without what ``torch.compile`` wraps around it."""
    return unwrapped(getattr(pipe, "transformer", pipe))


def unwrapped(module: nn.Module) -> nn.Module:
    """A module without what ``torch.compile`` wraps around it."""
    while isinstance(inner := getattr(module, "_orig_mod", None), nn.Module):
        module = inner
    return module


def is_compiled(module: nn.Module) -> bool:
    """Whether a module, what wraps it, or a part of it is compiled."""
    return any(
        getattr(part, COMPILED, None) is not None
        or getattr(part, "_orig_mod", None) is not None
        or hasattr(part.__dict__.get("forward"), "_torchdynamo_orig_callable")
        for part in module.modules()
    )


def forget_compiled(module: nn.Module | None = None) -> None:
    """Compiled code does not look for hooks where it met none: without this they would be left out without a word.

    With a ``module``, only if a part of it is compiled; a function may hold a module's code, too.
    """
    dynamo: Any = sys.modules.get("torch._dynamo")
    if module is None and dynamo is None:
        return
    if is_compiled(module) if module is not None else dynamo.convert_frame.FRAME_COUNTER:
        torch.compiler.reset()


class Visitor(Protocol):
    """Hears of the calls of a transformer."""

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """A call begins."""
        ...

    def leave(self, *, failed: bool) -> None:
        """It has ended."""
        ...


class Door:
    """Stands in the place of a transformer's own compiled call: visitors run as they are written, the call itself is compiled."""

    def __init__(self, transformer: nn.Module, compiled: Callable[..., Any]) -> None:
        self.transformer = weakref.ref(transformer)
        self.compiled = compiled
        self.visitors: list[Visitor] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the compiled transformer with its visitors around it."""
        entered: list[Visitor] = []
        failed = True
        try:
            for visitor in list(self.visitors):
                visitor.enter(cast(nn.Module, self.transformer()), args, kwargs)
                entered.append(visitor)
            output = self.compiled(*args, **kwargs)
            failed = False
        finally:
            for visitor in entered:
                visitor.leave(failed=failed)
        return output


class Doors:
    """One visitor's ways into a transformer from outside of compiled code, wherever it was compiled."""

    def __init__(self, visitor: Visitor) -> None:
        self.visitor = visitor
        self.handles: list[Any] = []
        self.wrapper: weakref.ref[nn.Module] | None = None

    def open(self, held: nn.Module, transformer: nn.Module) -> None:
        """Stand before ``held``, what a pipeline calls, if it is compiled code around ``transformer`` or in it."""
        compiled: Any = getattr(transformer, COMPILED, None)
        if compiled is not None:
            if not isinstance(compiled, Door):
                compiled = Door(transformer, compiled)
                setattr(transformer, COMPILED, compiled)
            if self.visitor not in compiled.visitors:
                compiled.visitors.append(self.visitor)
        if held is not transformer and (self.wrapper is None or self.wrapper() is not held):
            self.wrapper = weakref.ref(held)
            self.handles += [
                held.register_forward_pre_hook(self._enter, with_kwargs=True),
                held.register_forward_hook(self._leave, always_call=True),
            ]

    def close(self, transformer: nn.Module | None) -> None:
        """Leave everything as it was."""
        for handle in self.handles:
            handle.remove()
        self.handles, self.wrapper = [], None
        door: Any = getattr(transformer, COMPILED, None)
        if isinstance(door, Door):
            door.visitors = [each for each in door.visitors if each is not self.visitor]
            if not door.visitors and transformer is not None:
                setattr(transformer, COMPILED, door.compiled)

    def _enter(self, wrapper: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.visitor.enter(transformer_of(wrapper), args, kwargs)

    def _leave(self, wrapper: nn.Module, args: Any, output: Any) -> None:
        self.visitor.leave(failed=output is None)
