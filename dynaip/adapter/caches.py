"""diffusers' caches: which of them leave attentions or whole blocks out, and what references do then.

A cached attention is met without a query: its latest one serves the step, as the cache's output does. A block that is left
out as a whole needs nothing: what it gave before, with the references in it, is what the cache gives again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from dynaip.adapter.places import Place
from dynaip.errors import InputError

ATTENTIONS = {
    "PyramidAttentionBroadcastHook": "Pyramid Attention Broadcast",
    "FasterCacheBlockHook": "FasterCache",
    "TaylorSeerCacheHook": "TaylorSeer",
}
"""Hooks that give a module's earlier output (or a guess from it) in place of running it."""
BLOCKS = ("FBC", "MagCache", "SeaCache", "TransformerBlockSkip", "AttentionProcessorSkip")
"""How hooks are called that leave blocks out, or an attention for good."""


def hooks_of(module: nn.Module | None) -> list[Any]:
    """The hooks of diffusers that wrap a module's forward."""
    registry = None if module is None else vars(module).get("_diffusers_hook")
    return [] if registry is None else list(registry.hooks.values())


def caches_of(module: nn.Module | None) -> Iterator[str]:
    """Names of the caches that may leave this module out in some steps."""
    names = (type(hook).__name__ for hook in hooks_of(module))
    return (ATTENTIONS[name] for name in names if name in ATTENTIONS)


def meet(transformer: nn.Module, places: list[Place], site: str) -> bool:
    """Prepare every place for the caches that are on; give whether there is one.

    Raises ``InputError`` for a cache whose steps cannot be served.
    """
    refuse_halves(transformer)
    found = False
    for place in places:
        attention, block = (held() if held else None for held in (place.attention, place.block))
        caches = [*caches_of(attention), *(caches_of(block) if site == "residual" else ())]
        if caches and site == "projection":
            raise InputError(
                f"{caches[0]} leaves attentions out, and this adapter adds inside them (adapter.site projection): "
                "disable_cache() on the transformer, or use a cache of whole blocks (FirstBlockCacheConfig, MagCacheConfig)"
            )
        behind = hooks_of(block) if site == "residual" else []
        # The last block's own term lies behind what such a cache keeps.
        place.reuses = bool(caches) or any(getattr(hook, "is_tail", False) for hook in behind)
        place.leader = next((hook for hook in behind if type(hook).__name__ == "FBCHeadBlockHook"), None)
        found = found or bool(hooks_of(attention) or hooks_of(block))
    return found


def refuse_halves(transformer: nn.Module) -> None:
    """Refuse a cache that takes the negative rows out of a pass behind our back."""
    for hook in hooks_of(transformer):
        if type(hook).__name__ == "FasterCacheDenoiserHook" and not hook.is_guidance_distilled:
            raise InputError(
                "FasterCache leaves out rows of the batch, so that references cannot be told which are positive: set "
                "is_guidance_distilled=True, or use another cache"
            )


def leads_alone(place: Place) -> bool:
    """Whether a first block stands for all of them in this step, the references' terms among them."""
    return place.leader is not None and not place.leader.state_manager.get_state().should_compute


def leaves_out(module: nn.Module | None) -> bool:
    """Whether an attention is left out for good (guidance that skips layers)."""
    return any(type(hook).__name__.startswith(BLOCKS) for hook in hooks_of(module))


def left_out(block: nn.Module | None) -> bool:
    """Whether a block was left out as a whole in the pass that has just ended, as far as its hooks tell."""
    for hook in hooks_of(block):
        if type(hook).__name__.startswith((*BLOCKS, *ATTENTIONS)):
            state = hook.state_manager.get_state() if hasattr(hook, "state_manager") else None
            return not getattr(state, "should_compute", False)
    return False
