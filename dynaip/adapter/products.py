"""Keys and values of references: made once a generation, and in training by one product for all blocks that are open."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor

from dynaip.adapter.attention import KeyValue, ReferenceAttention
from dynaip.adapter.places import Kept, Place
from dynaip.adapter.slots import Slot


def fill(
    attention: ReferenceAttention, places: Sequence[Place], slots: Sequence[Slot], cache: dict[int, Kept], like: Tensor
) -> None:
    """Give every place the keys and values of its open branches: those in ``cache``, or new ones for it.

    With gradients nothing is cached, and they are made here for a half alone: otherwise each block makes its own.
    """
    if not torch.is_grad_enabled():
        for number, place in enumerate(places):
            place.kept = cache.setdefault(number, {})
    elif not takes_half(like):
        return
    for slot in slots:
        lacking: dict[tuple[int, str], KeyValue] = {
            (number, attention.name(branch)): place.pairs[branch]
            for number, place in enumerate(places)
            for branch in place.weights
            if (attention.name(branch), slot.number) not in place.kept
        }
        for (number, name), made in zip(lacking, _made(list(lacking.values()), slot, like), strict=True):
            places[number].kept[name, slot.number] = made


def _made(pairs: Sequence[KeyValue], slot: Slot, like: Tensor) -> list[tuple[Tensor, Tensor]]:
    if pairs and torch.is_grad_enabled():
        return project_together(pairs, slot, like)
    return [project(pair, slot, like) for pair in pairs]


def project(pair: KeyValue, slot: Slot, like: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values of a slot (P x H x M x d/H), on the device and in the type of ``like``."""
    if pair.to_k.weight.device != like.device:
        pair.to(like.device)
    with half_products(like):
        key, value = pair(slot.tokens.to(like.device))
    return key.to(like.dtype), value.to(like.dtype)


def project_together(pairs: Sequence[KeyValue], slot: Slot, like: Tensor) -> list[tuple[Tensor, Tensor]]:
    """``project`` of many pairs by one product in the type of ``like``, forward and backward: with gradients, where each
    launch counts. The weights stay what they are; a copy in that type is made once.
    """
    weights = [layer.weight for pair in pairs for layer in (pair.to_k, pair.to_v)]
    products = Products.apply(slot.tokens.to(like.device), like.dtype, *weights).split(
        [len(each) for each in weights], -1
    )
    found: list[tuple[Tensor, Tensor]] = []
    for pair, key, value in zip(pairs, products[::2], products[1::2], strict=True):
        for_key, for_value = (cast("Tensor | None", layer.bias) for layer in (pair.to_k, pair.to_v))
        if for_key is not None and for_value is not None:
            key, value = key + for_key, value + for_value
        key, value = pair.split(key, value)
        found.append((key.to(like.dtype), value.to(like.dtype)))
    return found


class Products(torch.autograd.Function):
    """Tokens (... x D) times all of some weights (d_i x D), side by side: ... x sum d_i, in a type of its own."""

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, dtype: torch.dtype, *weights: Tensor) -> Tensor:
        """Multiply by a copy of the weights in ``dtype``."""
        ctx.rows, ctx.like = [len(each) for each in weights], tokens.dtype
        stacked = tokens.new_empty((sum(ctx.rows), tokens.shape[-1]), dtype=dtype)
        torch._foreach_copy_(list(stacked.split(ctx.rows)), list(weights))  # pyright: ignore
        tokens = tokens.to(dtype)
        ctx.save_for_backward(tokens, stacked)
        return tokens @ stacked.t()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Give gradients of tokens and weights in the types of both."""
        (grad,), (tokens, stacked) = grads, ctx.saved_tensors
        of_weights = (grad.flatten(0, -2).t() @ tokens.flatten(0, -2)).float()
        return (grad @ stacked).to(ctx.like), None, *of_weights.split(ctx.rows)


def half_products(like: Tensor) -> AbstractContextManager[object]:
    """On an accelerator, products of float32 weights run in the type of ``like``, if that is a half.

    In training and in generation alike: a picture is painted with the products that the adapter was trained with.
    """
    on_device = takes_half(like) and not like.is_meta
    return torch.autocast(like.device.type, like.dtype) if on_device else nullcontext()


def takes_half(like: Tensor) -> bool:
    """Whether products of float32 weights run in the type of ``like``: a half, on an accelerator or, as there, without values."""
    return like.dtype in (torch.bfloat16, torch.float16) and like.device.type != "cpu"
