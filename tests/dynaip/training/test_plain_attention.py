"""Attention written out against the fused kernel."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from dynaip.training.plain_attention import PlainAttention, plain_attention


def test_plain_attention_equals_the_fused_kernel() -> None:
    q, k, v = torch.randn(3, 2, 4, 9, 8, dtype=torch.float64).unbind(0)
    fused = F.scaled_dot_product_attention(q, k, v)
    torch.testing.assert_close(plain_attention(q, k, v), fused)
    with PlainAttention():
        torch.testing.assert_close(F.scaled_dot_product_attention(query=q, key=k, value=v), fused)
        masked = F.scaled_dot_product_attention(q, k, v, attn_mask=torch.eye(9, dtype=torch.bool))
    torch.testing.assert_close(masked, v)
    layer = torch.nn.MultiheadAttention(8, 2, batch_first=True, dtype=torch.float64)
    wanted = layer(q[0], k[0], v[0], need_weights=False)[0]
    with PlainAttention():
        torch.testing.assert_close(layer(q[0], k[0], v[0], need_weights=False)[0], wanted)
