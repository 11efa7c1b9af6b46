"""What a transformer carries while adapters are attached: who they are, and methods that would lose or mistake them."""

from __future__ import annotations

import copy
import weakref
from typing import TYPE_CHECKING, Any, NoReturn

from torch import nn

from dynaip.adapter.formats import save_with_base
from dynaip.errors import InputError

if TYPE_CHECKING:
    from dynaip.adapter.model import DynaIP

MARK = "_dynaip"
SHADOWS = ("save_pretrained", "__deepcopy__", "__reduce_ex__")
HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks_always_called",
)


def adapters_on(transformer: nn.Module) -> list[DynaIP]:
    """The adapters that are attached, in the order in which they came."""
    marks: list[weakref.ref[DynaIP]] = transformer.__dict__.get(MARK, [])
    return [adapter for mark in marks if (adapter := mark()) is not None]


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


def add(transformer: nn.Module, adapter: DynaIP) -> None:
    """Note an adapter."""
    _note(transformer, [*adapters_on(transformer), adapter])


def drop(transformer: nn.Module, adapter: DynaIP) -> None:
    """Forget an adapter; with the last one the transformer's own methods are back."""
    _note(transformer, [each for each in adapters_on(transformer) if each is not adapter])


def _note(transformer: nn.Module, adapters: list[DynaIP]) -> None:
    for name in (MARK, *SHADOWS):
        transformer.__dict__.pop(name, None)
    if not adapters:
        return
    transformer.__dict__[MARK] = [weakref.ref(each) for each in adapters]
    save_with_base(transformer, adapters)
    # The transformer must not refer to itself: deleting it frees its memory at once.
    owner: weakref.ref[nn.Module] = weakref.ref(transformer)

    def deepcopy(memo: dict[int, Any]) -> nn.Module:
        return _bare_copy(owner(), memo)

    transformer.__dict__["__deepcopy__"] = deepcopy
    transformer.__dict__["__reduce_ex__"] = _refuse


def _bare_copy(transformer: Any, memo: dict[int, Any]) -> nn.Module:
    """A deep copy is the base alone: hooks belong to one transformer and would answer for the other one."""
    injectors = [each.injector for each in adapters_on(transformer)]
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
