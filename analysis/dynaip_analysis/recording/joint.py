"""Joint attention of text and image tokens, read from module hooks on queries and keys: nothing is replaced.

One softmax runs over text and image keys together. Hooks hold queries and keys as they leave their norms (or projections,
where a model has no norm); rotary embedding is applied to them here as the base applies it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from dynaip.adapter.attention import split_heads
from dynaip.contracts import BlockSite, Branch
from dynaip.errors import InputError

KEYS = {"norm_q": "norm_k", "norm_added_q": "norm_added_k", "to_q": "to_k", "add_q_proj": "add_k_proj"}
"""Attention modules name the keys' module like the queries'; this shape FLUX, SD3 and Qwen-Image share."""


@dataclass(frozen=True)
class JointEvent:
    """Queries and keys of one block, as its hooks hold them; ``of_heads`` joins and rotates those of some heads."""

    block: int
    queries: Sequence[Tensor]
    """One a stream, text first, each B x H x tokens x d/H."""
    keys: Sequence[Tensor]
    text_tokens: int
    """X."""
    rotary: tuple[Tensor, Tensor] | None = None
    """Cosines and sines of all tokens, text first."""
    mask: Tensor | None = None
    """Keys that count (B x (X + T), bool); None for all."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """B, H, X + T, d/H."""
        batch, heads, _, width = self.keys[0].shape
        return batch, heads, sum(part.shape[2] for part in self.keys), width

    def of_heads(self, heads: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Queries and keys of some heads, B x h x (X + T) x d/H, text first, rotary embedding applied."""
        query, key = (torch.cat([part[:, heads] for part in parts], dim=2) for parts in (self.queries, self.keys))
        return rotate(query, self.rotary), rotate(key, self.rotary)


@dataclass
class _Block:
    number: int
    site: BlockSite
    held: dict[tuple[str, str], Tensor] = field(default_factory=dict[tuple[str, str], Tensor])


class JointListener:
    """Hooks on the chosen blocks. ``callback`` hears an event a block while ``text_tokens`` is set; ``remove`` undoes all."""

    def __init__(self, sites: Mapping[int, BlockSite], callback: Callable[[JointEvent], None]) -> None:
        self.callback = callback
        self.text_tokens: int | None = None
        """X of the pass that is heard; None while nothing is to be heard."""
        self.skipped = 0
        """Leading rows of the pass that are its negative half and are not heard."""
        self.handles: list[Any] = []
        for number, site in sites.items():
            self._hook(_Block(number, site))

    def _hook(self, block: _Block) -> None:
        for branch, module in streams(block.site).items():
            self.handles.append(module.register_forward_hook(self._hold(block, branch, "query")))
            key = key_module(block.site, module)
            self.handles.append(key.register_forward_hook(self._hold(block, branch, "key")))
        self.handles.append(block.site.attention.register_forward_hook(self._tell(block), with_kwargs=True))

    def remove(self) -> None:
        """Take every hook away."""
        for handle in self.handles:
            handle.remove()
        self.handles, self.text_tokens = [], None

    def _hold(self, block: _Block, branch: str, part: str) -> Callable[..., None]:
        def hold(module: nn.Module, args: Any, output: Tensor) -> None:
            if self.text_tokens is not None:
                block.held[branch, part] = split_heads(output, block.site.heads, block.site.query_layout)[
                    self.skipped :
                ]

        return hold

    def _tell(self, block: _Block) -> Callable[..., None]:
        def tell(module: nn.Module, args: Any, kwargs: Mapping[str, Any], output: Any) -> None:
            held, block.held = block.held, {}
            if self.text_tokens is not None and held:
                with torch.no_grad():
                    self.callback(self._event(block, held, kwargs))

        return tell

    def _event(self, block: _Block, held: Mapping[tuple[str, str], Tensor], kwargs: Mapping[str, Any]) -> JointEvent:
        if kwargs.get("attention_mask") is not None:
            raise InputError(
                f"{block.site.name}: joint attention under an attention mask is not recorded; leave joint= out"
            )
        branches = ("text", "image") if ("text", "query") in held else ("image",)
        text = held["text", "key"].shape[2] if ("text", "key") in held else int(self.text_tokens or 0)
        queries, keys = ([held[branch, part] for branch in branches] for part in ("query", "key"))
        rotary, mask = rotation(kwargs.get("image_rotary_emb")), _key_mask(kwargs, text, keys, self.skipped)
        return JointEvent(block.number, queries, keys, text, rotary, mask)


def streams(site: BlockSite) -> dict[Branch, nn.Module]:
    """Modules whose outputs are queries of a block's joint softmax, by stream.

    A double-stream block that gives its text away afterwards (the last of SD3) has no text branch to inject into, but its
    text takes part in the softmax like everywhere else.
    """
    found = dict(site.queries)
    if site.kind == "double" and "text" not in found:
        added = (getattr(site.attention, name, None) for name in ("norm_added_q", "add_q_proj"))
        text = next((module for module in added if isinstance(module, nn.Module)), None)
        found |= {} if text is None else {"text": text}
    return found


def key_module(site: BlockSite, query: nn.Module) -> nn.Module:
    """The module whose output are the keys that go with a block's queries."""
    for name, other in KEYS.items():
        if getattr(site.attention, name, None) is query and isinstance(getattr(site.attention, other, None), nn.Module):
            return getattr(site.attention, other)
    raise InputError(f"{site.name}: its keys have no module of their own, so joint attention cannot be read there")


def rotation(embedding: Any) -> tuple[Tensor, Tensor] | None:
    """Cosines and sines of all tokens, text first (tokens x d/H).

    FLUX passes them as (cosines, sines) of all tokens; Qwen-Image as complex numbers of the image's, then the text's tokens.
    """
    if embedding is None:
        return None
    first, second = embedding
    if not torch.is_complex(first):
        return first, second
    turns = torch.cat([second, first])
    return turns.real.repeat_interleave(2, dim=-1), turns.imag.repeat_interleave(2, dim=-1)


def rotate(tokens: Tensor, rotary: tuple[Tensor, Tensor] | None) -> Tensor:
    """Turn neighbouring pairs of channels of B x H x T x d/H by each token's angles; the type stays, as in the base."""
    if rotary is None:
        return tokens
    cosines, sines = (part.to(tokens.device) for part in rotary)
    real, imaginary = tokens.float().unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack([-imaginary, real], dim=-1).flatten(-2)
    return (tokens.float() * cosines + turned * sines).to(tokens.dtype)


def _key_mask(kwargs: Mapping[str, Any], text: int, keys: Sequence[Tensor], skipped: int) -> Tensor | None:
    """Qwen-Image marks the text tokens that are padding."""
    given = kwargs.get("encoder_hidden_states_mask")
    if given is None:
        return None
    given = given[skipped:]
    image = sum(part.shape[2] for part in keys) - text
    device = keys[0].device
    return torch.cat([given.bool().to(device), torch.ones(len(given), image, dtype=torch.bool, device=device)], dim=1)
