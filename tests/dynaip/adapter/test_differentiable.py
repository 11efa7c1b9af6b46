"""Attention written out against the fused kernel."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend

from dynaip.adapter.differentiable import PlainAttention, differentiable_attention, plain_attention


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


def test_on_cuda_the_kernels_whose_backward_pass_fails_are_shut_out() -> None:
    allowed = {SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH}
    before = set(torch.nn.attention._cur_sdpa_kernel_backends())
    with differentiable_attention(torch.device("cuda")):
        assert set(torch.nn.attention._cur_sdpa_kernel_backends()) == allowed
    assert set(torch.nn.attention._cur_sdpa_kernel_backends()) == before


def test_elsewhere_torch_chooses() -> None:
    before, own = set(torch.nn.attention._cur_sdpa_kernel_backends()), F.scaled_dot_product_attention
    with differentiable_attention(torch.device("mps")):
        assert set(torch.nn.attention._cur_sdpa_kernel_backends()) == before
        assert F.scaled_dot_product_attention is own


def test_a_training_pass_chooses_by_itself(adapter: Any, tiny_flux: Any) -> None:
    dyna, own = adapter(), F.scaled_dot_product_attention
    with dyna.training_pass({}, torch.ones(1, dtype=torch.bool)):
        assert F.scaled_dot_product_attention is not own
    assert F.scaled_dot_product_attention is own


def test_weights_that_would_fill_the_memory_are_left_to_the_fused_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynaip.adapter.differentiable.plain_attention", lambda *args: pytest.fail("written out"))
    q = torch.zeros(1, 1, 8200, 2)
    with PlainAttention():
        assert torch.nn.functional.scaled_dot_product_attention(q, q, q).shape == q.shape
        with pytest.raises(pytest.fail.Exception):
            torch.nn.functional.scaled_dot_product_attention(*[q[:, :, :80]] * 3)
