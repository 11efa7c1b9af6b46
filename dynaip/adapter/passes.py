"""Which pass of classifier-free guidance a call of the transformer is."""

from __future__ import annotations

import weakref
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

NEGATIVE = "uncond"
"""What diffusers' pipelines call the pass of the negative prompt."""


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
        self._shadowed = transformer.__dict__.get("cache_context")
        if hasattr(transformer, "cache_context"):
            transformer.__dict__["cache_context"] = self._listening(transformer)

    def _listening(self, transformer: nn.Module) -> Any:
        # A strong reference from the transformer to itself would keep a deleted pipeline's memory until the next collection.
        owner, shadowed = weakref.ref(transformer), self._shadowed

        @contextmanager
        def cache_context(*args: Any, **kwargs: Any) -> Generator[Any]:
            model: Any = owner()
            outer, self.name = self.name, str(kwargs.get("name", args[0] if args else None))
            try:
                with (
                    shadowed(*args, **kwargs)
                    if shadowed
                    else type(model).cache_context(model, *args, **kwargs) as value
                ):
                    yield value
            finally:
                self.name = outer

        return cache_context

    def remove(self, transformer: nn.Module) -> None:
        """Give ``cache_context`` back as it was."""
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
            return self.name
        latents, text = kwargs.get("hidden_states", args[0] if args else None), kwargs.get("encoder_hidden_states")
        if latents is None or text is None:
            return None
        if self._latents is not None and self._latents() is latents:
            before = self._text() if self._text else None
            return None if before is text else NEGATIVE
        self._latents, self._text = weakref.ref(latents), weakref.ref(text)
        return None
