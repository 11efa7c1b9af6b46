"""A reference that nobody adds is noticed: after a pass, every open branch of every open block has added its term."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from dynaip.adapter.caches import leaves_out, left_out
from dynaip.adapter.compiled import is_compiled
from dynaip.adapter.places import Place
from dynaip.contracts import ForwardPass
from dynaip.errors import InputError


def check(places: Iterable[Place], call: ForwardPass, *, behind: bool) -> None:
    """Raise ``InputError`` naming the first block that was to add a term and did not, and the likely cause.

    ``behind`` says that terms are added behind whole blocks, whose hooks run where a cache leaves them out, too.
    """
    for place in places:
        for branch in place.weights:
            reached = place.added.get(branch)
            if not reached and not _left_out(place, call, entered=reached is not None, behind=behind):
                line = f"{place.name}: the reference was not added to the {branch} branch"
                raise InputError(f"{line}; {_cause(place, reached)}")
        place.served = place.served or any(place.added.values())


def _left_out(place: Place, call: ForwardPass, *, entered: bool, behind: bool) -> bool:
    """Whether the base itself leaves a block out: a cache, layers that a pass skips, or code that has run it before."""
    if place.number in call.skipped_blocks:
        return True
    attention, block = (held() if held else None for held in (place.attention, place.block))
    if entered and not behind:
        return leaves_out(attention)
    return left_out(block) or leaves_out(attention) or (place.served and not entered)


def _cause(place: Place, reached: bool | None) -> str:
    attention = place.attention() if place.attention else None
    block = place.block() if place.block else None
    processor = type(getattr(attention, "processor", None)).__name__
    if getattr(attention, "fused_projections", False) and "Fused" in processor:
        return f"{processor} hides the block's query: unfuse_qkv_projections() first"
    modules = [module for module in (attention, block) if isinstance(module, nn.Module)]
    if any(is_compiled(module) for module in modules):
        return "the block was compiled before the adapter was attached: attach first, then compile"
    if place.reuses:
        return (
            "a cache gives what came before references were active: run the whole generation inside of references(...)"
        )
    if reached is None:
        return (
            "its attention did not run, or was replaced after the adapter was attached: detach() and attach(pipe) again"
        )
    return (
        f"its attention processor {processor} does not run the norm of the query: use the model's own "
        "(set_attn_processor), or one that calls it"
    )
