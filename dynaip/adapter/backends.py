"""Attention backends: the base's own choice among diffusers' kernels, followed by reference attention."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any, cast

from torch import Tensor, nn

from dynaip.errors import InputError, MissingDependency
from dynaip.suggest import did_you_mean, one_line

NATIVE = "native"


def processors_of(transformer: nn.Module) -> Iterator[Any]:
    """The attention processors of a transformer that can be given a backend."""
    for module in transformer.modules():
        processor = getattr(module, "processor", None)
        if hasattr(processor, "_attention_backend"):
            yield processor


def backend_of(transformer: nn.Module) -> str | None:
    """The backend that a transformer's attention runs on; None for torch's own, and for models without a choice."""
    from diffusers.models.attention_dispatch import _AttentionBackendRegistry  # pyright: ignore[reportPrivateUsage]

    processor = next(processors_of(transformer), None)
    if processor is None:
        return None
    chosen: Any = processor._attention_backend or _AttentionBackendRegistry.get_active_backend()[0]
    name = str(getattr(chosen, "value", chosen))
    return None if name == NATIVE else name


def use_backend(transformer: nn.Module, name: str) -> Callable[[], None]:
    """Give the base another backend (``transformer.set_attention_backend``); what is given back undoes it exactly.

    Raises ``InputError`` for an unknown name, ``MissingDependency`` in one line where its package is not installed.
    """
    from diffusers.models.attention_dispatch import (
        AttentionBackendName,
        _AttentionBackendRegistry,  # pyright: ignore[reportPrivateUsage]
    )

    names = [each.value for each in AttentionBackendName]
    if name.lower() not in names:
        shown = [each for each in names if not each.startswith("_")]
        raise InputError(
            f"attention_backend: there is no {name}; there are {', '.join(shown)}.{did_you_mean(name, shown)}"
        )
    if not hasattr(transformer, "set_attention_backend"):
        raise InputError(f"attention_backend: {type(transformer).__name__} runs on torch's own attention alone")
    active = _AttentionBackendRegistry.get_active_backend()[0]
    before = [(weakref.ref(each), each._attention_backend) for each in processors_of(transformer)]
    try:
        cast(Any, transformer).set_attention_backend(name)
    except (RuntimeError, ValueError, ImportError, OSError) as error:
        raise MissingDependency(f"attention_backend {name} cannot be used here: {one_line(error)}") from error

    def restore() -> None:
        for held, chosen in before:
            processor = held()
            if processor is not None:
                processor._attention_backend = chosen
        _AttentionBackendRegistry.set_active_backend(active)

    return restore


def dispatched(query: Tensor, key: Tensor, value: Tensor, backend: str) -> Tensor:
    """softmax(q K^T / sqrt(d/H)) V by diffusers' dispatcher; all B x H x tokens x d/H."""
    from diffusers.models.attention_dispatch import AttentionBackendName, dispatch_attention_fn

    rows = [part.transpose(1, 2) for part in (query, key, value)]
    found: Any = dispatch_attention_fn(rows[0], rows[1], rows[2], backend=AttentionBackendName(backend))
    return found.transpose(1, 2)
