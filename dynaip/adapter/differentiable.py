"""Attention whose backward pass can be relied on, and is fast."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

FUSED = F.scaled_dot_product_attention
WEIGHTS = 2**26
"""Weights (B x H x T x T) up to which they are written out; beyond that they would fill the memory."""


def plain_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)) v by two batched products. [B,H,T,d]."""
    weights = (query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5).softmax(-1)
    return weights.to(value.dtype) @ value


def _choose(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
    is_causal: bool = False, **options: Any,
) -> Tensor:  # fmt: skip
    # torch's own MultiheadAttention gives mask, dropout and causality by position.
    if (
        query.shape[:-1].numel() * key.shape[-2] <= WEIGHTS
        and attn_mask is None
        and not dropout_p
        and not is_causal
        and not any(options.values())
    ):
        return plain_attention(query, key, value)
    return FUSED(query, key, value, attn_mask, dropout_p, is_causal, **options)


class PlainAttention:
    """Inside this context unmasked attention is two matrix products; afterwards everything is as before.

    On a CPU the fused kernel's backward pass in bfloat16 takes four times as long at 88 tokens, and its `MATH` backend twice
    as long (batch 48, 4 heads of 32).
    """

    def __enter__(self) -> None:
        self._before = F.scaled_dot_product_attention
        F.scaled_dot_product_attention = _choose

    def __exit__(self, *reason: object) -> None:
        F.scaled_dot_product_attention = self._before


@contextmanager
def differentiable_attention(device: torch.device) -> Generator[None]:
    """Attention for passes through which gradients flow, in the base and in reference attention alike.

    On a CPU two matrix products. On CUDA every kernel of torch's but cuDNN's, which torch prefers on Hopper and whose
    backward pass ends in illegal memory accesses and NaN there (pytorch issues 122695 and 134001). Elsewhere torch's own
    choice. Passes without gradients are not touched: inference runs on whatever is fastest.
    """
    if device.type == "cpu":
        with PlainAttention():
            yield
    elif device.type == "cuda":
        with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]):
            yield
    else:
        yield
