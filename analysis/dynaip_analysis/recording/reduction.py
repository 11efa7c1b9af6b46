"""Attention weights computed again from queries and keys, exactly, some at a time: softmax first, then every mean.

``softmax(q K^T / sqrt(d/H))`` is never held as a whole. A few of its columns are had without the others:
``exp(q k / sqrt(d/H) - lse(q))`` with ``lse(q)``, the logarithm of the row's sum of exponentials (ours).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from dynaip_analysis.recording.budget import CHUNK


def attention_weights(query: Tensor, key: Tensor, mask: Tensor | None = None) -> Tensor:
    """Softmax over the keys, per head, in float32 (b x H x t x M); ``mask`` (b x M, bool) says which keys count."""
    return logits_of(query, key, mask).softmax(dim=-1)


def logits_of(query: Tensor, key: Tensor, mask: Tensor | None = None) -> Tensor:
    """q K^T / sqrt(d/H) in float32 (b x H x t x M), minus infinity at keys that do not count."""
    logits = _products(query, key).unflatten(0, query.shape[:2])
    return logits if mask is None else logits.masked_fill(~mask[:, None, None, :], float("-inf"))


def _products(query: Tensor, key: Tensor, out: Tensor | None = None) -> Tensor:
    """Logits with batch and heads in one axis; the scale is part of the product, so no scaled copy of the queries is made.

    Products of halves are exact in float32: where a device gives them so, no copy of its factors in float32 is made either.
    """
    halves = query.dtype == key.dtype and multiplies_halves(query.device, query.dtype)
    rows, keys = query.flatten(0, 1), key.flatten(0, 1)
    if not halves:
        rows, keys = rows.float(), keys.float()
    wide: dict[str, Any] = {"out_dtype": torch.float32} if halves else {}
    nothing = rows.new_zeros((), dtype=torch.float32)
    return torch.baddbmm(nothing, rows, keys.mT, beta=0, alpha=query.shape[-1] ** -0.5, out=out, **wide)


@cache
def multiplies_halves(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a device multiplies these halves into float32 by itself (torch 2.8 and later on CUDA); it is tried once."""
    if device.type == "cpu" or dtype not in (torch.bfloat16, torch.float16):
        return False
    rows, keys = (torch.linspace(-1, edge, 2 * 8 * 16, device=device).view(2, 8, 16).to(dtype) for edge in (1, 2))
    asked: dict[str, Any] = {
        "beta": 0,
        "alpha": 0.3,
        "out_dtype": torch.float32,
        "out": rows.new_empty(2, 8, 8).float(),
    }
    try:
        found = torch.baddbmm(rows.new_zeros((), dtype=torch.float32), rows, keys.mT, **asked)
        return torch.allclose(found, 0.3 * rows.float() @ keys.float().mT, rtol=1e-4, atol=1e-4)
    except (RuntimeError, TypeError):  # unknown to this torch, or to this device
        return False


class Workspace:
    """Two buffers to work in, again and again: fresh ones for every chunk scatter the heap, which then outgrows a budget."""

    def __init__(self) -> None:
        self._held: Tensor | None = None

    def two(self, shape: Sequence[int], device: torch.device) -> tuple[Tensor, Tensor]:
        """Two float32 tensors of a shape, with whatever was in them; what was given before is overwritten."""
        count = math.prod(shape)
        if self._held is None or self._held.device != device or self._held.shape[1] < count:
            self._held = None
            self._held = torch.empty(2, count, device=device)
        first, second = (part[:count].view(*shape) for part in self._held)
        return first, second


def weights_and_entropy(query: Tensor, key: Tensor, work: Workspace | None = None) -> tuple[Tensor, Tensor]:
    """Softmax over the keys, per head (b x H x t x M), and the entropy of its rows in nats (b x H x t), in float32.

    The softmax lies in ``work`` until the next call with it. No gradients.
    """
    size, heads, queries, _ = query.shape
    one, two = (work or Workspace()).two((size * heads, queries, key.shape[2]), query.device)
    logs = torch.log_softmax(_products(query, key, out=one), dim=-1, out=two)
    weights = torch.exp(logs, out=one)
    entropy = logs.mul_(weights).sum(dim=-1).neg_()
    return weights.unflatten(0, (size, heads)), entropy.unflatten(0, (size, heads))


def chunks(batch: int, heads: int, queries: int, keys: int, chunk: int) -> Iterator[tuple[slice, slice]]:
    """Slices of heads and of queries whose logits (batch x heads x queries x keys, float32) fit into ``chunk`` bytes."""
    row = 4 * batch * keys
    together = min(queries, max(1, chunk // row))
    at_once = min(heads, max(1, chunk // (row * together)))
    for head in range(0, heads, at_once):
        for query in range(0, queries, together):
            yield slice(head, min(head + at_once, heads)), slice(query, min(query + together, queries))


def spans(queries: int, row: int, chunk: int) -> Iterator[slice]:
    """Slices of queries, ``row`` bytes each, that fit into ``chunk`` bytes together; one at least."""
    together = max(1, chunk // row)
    for start in range(0, queries, together):
        yield slice(start, min(start + together, queries))


def log_sum_exp(query: Tensor, key: Tensor, mask: Tensor | None = None, chunk: int = CHUNK) -> Tensor:
    """lse of every row, b x H x t, in float32; the last key has to count (an image token: ``mask`` marks text)."""
    found, work = query.new_empty(query.shape[:3], dtype=torch.float32), Workspace()
    for head, part in chunks(len(query), query.shape[1], query.shape[2], key.shape[2], chunk):
        lse = found[:, head, part]
        one, two = work.two((lse.shape[0] * lse.shape[1], lse.shape[2], key.shape[2]), query.device)
        logits = _products(query[:, head, part], key[:, head], out=one).unflatten(0, lse.shape[:2])
        if mask is not None:
            logits.masked_fill_(~mask[:, None, None, :], float("-inf"))
        # log p = logit - lse at any key that counts; on a CPU the softmax's kernel is several times as fast as logsumexp.
        logs = torch.log_softmax(one, dim=-1, out=two).unflatten(0, lse.shape[:2])
        torch.sub(logits[..., -1], logs[..., -1], out=lse)
    return found


def columns(query: Tensor, key: Tensor, lse: Tensor, mask: Tensor | None = None) -> Tensor:
    """Columns of the softmax over all keys at the keys given alone: b x H x t x (keys given)."""
    return logits_of(query, key, mask).sub_(lse[..., None]).exp_()


def places_with(weights: Tensor) -> Tensor:
    """Tokens to which any group of any row gives a weight (b x G x M): their places. On a device the host waits for them."""
    return (weights != 0).any(dim=0).any(dim=0).nonzero().flatten()


def mass_on(
    query: Tensor, key: Tensor, targets: Tensor, *, wanted: Tensor | None = None, mask: Tensor | None = None,
    each_head: bool = False, chunk: int = CHUNK,
) -> Tensor:  # fmt: skip
    """Attention that every query spends on each target: the sum of its columns, weighed by ``targets`` (b x G x M).

    Gives b x G x t (mean over heads), or b x H x G x t with ``each_head``. ``wanted`` are ``places_with(targets)``, where
    they are known.
    """
    wanted = places_with(targets) if wanted is None else wanted
    lse, heads = log_sum_exp(query, key, mask, chunk), query.shape[1]
    shape = (len(query), heads if each_head else 1, targets.shape[1], query.shape[2])
    found = query.new_zeros(shape, dtype=torch.float32)
    weights = targets[:, :, wanted].float()
    seen = None if mask is None else mask[:, wanted]
    for head, part in chunks(len(query), heads, query.shape[2], max(1, len(wanted)), chunk):
        spent = columns(query[:, head, part], key[:, head][:, :, wanted], lse[:, head, part], seen)
        spent = torch.einsum("bhtk,bgk->bhgt", spent, weights)
        if each_head:
            found[:, head, :, part] = spent
        else:
            found[:, 0, :, part] += spent.sum(dim=1) / heads
    return found if each_head else found[:, 0]


def rows_from(
    query: Tensor, key: Tensor, sources: Tensor, *, wanted: Tensor | None = None, mask: Tensor | None = None,
    each_head: bool = False, chunk: int = CHUNK,
) -> Tensor:  # fmt: skip
    """Attention to every key, as a mean over each source's queries, weighed by ``sources`` (b x G x t).

    Gives b x G x M (mean over heads), or b x H x G x M with ``each_head``; a source without queries gives zeros. ``wanted``
    are ``places_with(sources)``, where they are known.
    """
    wanted = places_with(sources) if wanted is None else wanted
    weights = sources[:, :, wanted].float()
    weights = weights / weights.sum(dim=-1, keepdim=True).clamp_min(1e-12)
    picked, heads = query[:, :, wanted], query.shape[1]
    found = query.new_zeros((len(query), heads, sources.shape[1], key.shape[2]), dtype=torch.float32)
    for head, part in chunks(len(query), heads, len(wanted), key.shape[2], chunk):
        looked = attention_weights(picked[:, head, part], key[:, head], mask)
        found[:, head] += torch.einsum("bhtk,bgt->bhgk", looked, weights[:, :, part])
    return found if each_head else found.mean(dim=1)
