"""Which pass of classifier-free guidance a call of the transformer is."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from dynaip.errors import InputError

NEGATIVE = "uncond"
"""What diffusers' pipelines call the pass of the negative prompt."""
LISTENERS = "_dynaip_passes"
"""Where a transformer keeps those who listen: adapters that are attached beside each other share one shadow."""


def told(name: str) -> str:
    """What a pass is by its pipeline's name: guiders say ``pred_uncond`` or ``uncond_stg`` for ``uncond``.

    Raises ``InputError`` for one that holds both prompts in one batch.
    """
    words = set(name.split("_"))
    if {"cond", "uncond"} <= words:
        raise InputError(
            f"the pass {name} holds both prompts in one batch, whose rows are not known: run them by themselves"
        )
    return NEGATIVE if words & {NEGATIVE, "negative", "neg"} else name


def calling_pipeline() -> Any:
    """The pipeline that called the transformer whose hook asks; None if it was called by hand.

    Several pipelines may share a transformer (``from_pipe``), and only the one on the stack knows whether it guides.
    """
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

    frame = inspect.currentframe()
    while frame is not None:
        # Reading a frame's locals keeps them alive until it ends, so that none but calls of objects are read.
        caller = frame.f_locals.get("self") if frame.f_code.co_name == "__call__" else None
        if isinstance(caller, DiffusionPipeline):
            return caller
        frame = frame.f_back
    return None


class PassMarks:
    """Listens to the names that a pipeline gives its passes, and tells them apart where it gives none.

    FluxPipeline names its passes by ``transformer.cache_context``, which is shadowed on the instance, not replaced. Kontext,
    img2img, inpaint and ControlNet pipelines call the transformer twice a step on the same latents, first with the prompt,
    then with the negative prompt: a second call on the same latents with another text is the negative pass.
    """

    def __init__(self, transformer: nn.Module) -> None:
        self.name: str | None = None
        self._latents: weakref.ref[Tensor] | None = None
        self._text: weakref.ref[Tensor] | None = None
        shared: list[PassMarks] = transformer.__dict__.setdefault(LISTENERS, [])
        self._shadowed = shared[0]._shadowed if shared else transformer.__dict__.get("cache_context")
        shared.append(self)
        if len(shared) == 1 and hasattr(transformer, "cache_context"):
            transformer.__dict__["cache_context"] = _announcing(transformer, shared, self._shadowed)

    def remove(self, transformer: nn.Module) -> None:
        """Stop listening; the last one gives ``cache_context`` back as it was."""
        shared: list[PassMarks] = transformer.__dict__.get(LISTENERS, [])
        if self in shared:
            shared.remove(self)
        if not shared:
            transformer.__dict__.pop(LISTENERS, None)
            transformer.__dict__.pop("cache_context", None)
            if self._shadowed is not None:
                transformer.__dict__["cache_context"] = self._shadowed
        self.forget()

    def forget(self) -> None:
        """Forget the last unmarked pass."""
        self._latents = self._text = None

    def read(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
        """Name this pass; None for one that is neither marked nor a second pass on the same latents."""
        if self.name is not None:
            return told(self.name)
        latents, text = kwargs.get("hidden_states", args[0] if args else None), kwargs.get("encoder_hidden_states")
        if latents is None or text is None:
            return None
        if self._latents is not None and self._latents() is latents:
            before = self._text() if self._text else None
            return None if before is text else NEGATIVE
        self._latents, self._text = weakref.ref(latents), weakref.ref(text)
        return None


def _announcing(transformer: nn.Module, listeners: list[PassMarks], shadowed: Any) -> Any:
    """``cache_context`` that tells the name of the pass to everyone who listens."""
    # A strong reference from the transformer to itself would keep a deleted pipeline's memory until the next collection.
    owner = weakref.ref(transformer)

    @contextmanager
    def cache_context(*args: Any, **kwargs: Any) -> Generator[Any]:
        model: Any = owner()
        before = [(each, each.name) for each in listeners]
        for each in listeners:
            each.name = str(kwargs.get("name", args[0] if args else None))
        try:
            with shadowed(*args, **kwargs) if shadowed else type(model).cache_context(model, *args, **kwargs) as value:
                yield value
        finally:
            for each, outer in before:
                each.name = outer

    return cache_context
