"""What a transformer carries while adapters are attached: who they are, and methods that would lose or mistake them."""

from __future__ import annotations

import copy
import inspect
import shutil
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, cast

from torch import nn

from dynaip.adapter import files
from dynaip.adapter.injector import Injector
from dynaip.adapter.parts import Adapter
from dynaip.errors import InputError

MARK = "_dynaip"
SHADOWS = ("save_pretrained", "__deepcopy__", "__reduce_ex__")
HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks_always_called",
)


@dataclass(frozen=True)
class Mark:
    """One adapter that is attached, and its hooks."""

    adapter: weakref.ref[Adapter]
    injector: Injector


def marks_on(transformer: nn.Module) -> list[Mark]:
    """What is attached, in the order in which it came."""
    marks: list[Mark] = transformer.__dict__.get(MARK, [])
    return [mark for mark in marks if mark.adapter() is not None]


def adapters_on(transformer: nn.Module) -> list[Adapter]:
    """The adapters that are attached, in the order in which they came."""
    return [adapter for mark in marks_on(transformer) if (adapter := mark.adapter()) is not None]


def check_room(transformer: nn.Module, beside: bool, attention_backend: str | None) -> None:
    """Refuse a further adapter that was not asked to stand beside those that are attached."""
    if not adapters_on(transformer):
        return
    if not beside:
        raise InputError(
            "another DynaIP adapter is attached to this transformer: DynaIP.on(pipe).detach() first, "
            "or attach(pipe, beside=True) to use both"
        )
    if attention_backend is not None:
        raise InputError("attention_backend: the adapter that was attached first has chosen it; leave it out here")


def add(transformer: nn.Module, adapter: Adapter, injector: Injector) -> None:
    """Note an adapter and its hooks."""
    _note(transformer, [*marks_on(transformer), Mark(weakref.ref(adapter), injector)])


def drop(transformer: nn.Module, adapter: Adapter) -> None:
    """Forget an adapter; with the last one the transformer's own methods are back."""
    _note(transformer, [each for each in marks_on(transformer) if each.adapter() is not adapter])


def _note(transformer: nn.Module, marks: list[Mark]) -> None:
    for name in (MARK, *SHADOWS):
        transformer.__dict__.pop(name, None)
    if not marks:
        return
    transformer.__dict__[MARK] = marks
    save_with_base(transformer, adapters_on(transformer))
    # The transformer must not refer to itself: deleting it frees its memory at once.
    owner: weakref.ref[nn.Module] = weakref.ref(transformer)

    def deepcopy(memo: dict[int, Any]) -> nn.Module:
        return _bare_copy(owner(), memo)

    transformer.__dict__["__deepcopy__"] = deepcopy
    transformer.__dict__["__reduce_ex__"] = _refuse


def _bare_copy(transformer: Any, memo: dict[int, Any]) -> nn.Module:
    """A deep copy is the base alone: hooks belong to one transformer and would answer for the other one."""
    injectors = [mark.injector for mark in marks_on(transformer)]
    memo.update({id(each): each for each in injectors})
    own = (MARK, *SHADOWS, "cache_context", "_dynaip_passes")
    held = {name: transformer.__dict__.pop(name) for name in own if name in transformer.__dict__}
    try:
        twin = copy.deepcopy(transformer, memo)
    finally:
        transformer.__dict__.update(held)
    numbers = {handle.id for injector in injectors for handle in injector.handles}
    for module in twin.modules():
        for hooks in (getattr(module, name) for name in HOOKS):
            for number in numbers & hooks.keys():
                del hooks[number]
    return twin


def _refuse(protocol: Any) -> NoReturn:
    raise InputError(
        "a transformer with an adapter attached cannot be pickled: detach() first, or save_pretrained() it"
    )


def save_with_base(transformer: nn.Module, adapters: Sequence[Adapter]) -> None:
    """Shadow the transformer's ``save_pretrained``, which every pipeline that holds it calls.

    The adapters are saved beside the parts of a pipeline in ``dynaip/`` (further ones in ``dynaip/2``, …), or in that folder
    of a transformer saved alone.
    """
    if not hasattr(transformer, "save_pretrained"):
        return
    # The transformer must not refer to itself: deleting it frees its memory at once.
    owner: weakref.ref[Any] = weakref.ref(transformer)

    def save_pretrained(save_directory: str | Path, *args: Any, **kwargs: Any) -> Any:
        # First the adapters: with push_to_hub the folder is uploaded when the transformer is saved.
        folder = Path(save_directory)
        home = (folder.parent if folder.name == "transformer" else folder) / files.BESIDE_PIPELINE
        for further in files.saved_beside(home):
            shutil.rmtree(further)
        for number, adapter in enumerate(adapters, start=1):
            files.save(adapter, home if number == 1 else home / str(number))
        saved: Any = owner()
        return type(saved).save_pretrained(saved, save_directory, *args, **kwargs)

    # Pipelines look at the parameters before they call.
    save_pretrained.__signature__ = inspect.signature(cast(Any, transformer).save_pretrained)  # pyright: ignore[reportFunctionMemberAccess]
    transformer.__dict__["save_pretrained"] = save_pretrained
