"""Reference attention: the equation written out, what starts at zero, and which parameters serve which branch."""

from __future__ import annotations

import math

import pytest
import torch

from dynaip.adapter.attention import KeyValue, ReferenceAttention, attend, merge_heads


@pytest.mark.parametrize("gradients", [False, True])
def test_attend_is_the_softmax_written_out(gradients: bool) -> None:
    query, key, value = (torch.randn(2, 3, tokens, 4) for tokens in (5, 7, 7))
    with torch.set_grad_enabled(gradients):
        attended = attend(query, key, value)
    for b in range(2):
        for h in range(3):
            for t in range(5):
                logits = [float(query[b, h, t] @ key[b, h, m]) / math.sqrt(4) for m in range(7)]
                total = sum(math.exp(logit) for logit in logits)
                row = sum(math.exp(logit) / total * value[b, h, m] for m, logit in enumerate(logits))
                torch.testing.assert_close(attended[b, h, t], row, atol=1e-6, rtol=1e-5)


def test_heads_come_together_in_order() -> None:
    heads = torch.arange(2 * 3 * 4 * 5).view(2, 3, 4, 5)
    merged = merge_heads(heads)
    assert merged.shape == (2, 4, 15)
    assert merged[1, 2].tolist() == torch.cat([heads[1, h, 2] for h in range(3)]).tolist()


@pytest.mark.parametrize("bias", [False, True])
def test_values_start_at_zero_and_keys_do_not(bias: bool) -> None:
    key, value = KeyValue(6, 8, 2, bias=bias, key_norm=False)(torch.randn(3, 5, 6))
    assert key.shape == value.shape == (3, 2, 5, 4)
    assert not value.any()
    assert key.abs().min() > 0


def test_key_norm_is_the_root_mean_square_a_head() -> None:
    pair = KeyValue(6, 8, 2, bias=False, key_norm=True)
    tokens = torch.randn(1, 5, 6)
    key, _ = pair(tokens)
    raw = pair.to_k(tokens).view(1, 5, 2, 4).transpose(1, 2)
    torch.testing.assert_close(key, raw / raw.square().mean(-1, keepdim=True).add(1e-6).sqrt())


def test_parameters_of_a_branch() -> None:
    apart = ReferenceAttention(2, token_width=6, width=8, heads=2)
    assert len(apart.parameters_of(["image"])) == 4
    assert len(apart.parameters_of(["image", "text"])) == len(list(apart.parameters())) == 8
    assert apart.pair("image", 1) is not apart.pair("text", 1)
    shared = ReferenceAttention(2, token_width=6, width=8, heads=2, share_branches=True)
    assert len(shared.parameters_of(["image", "text"])) == len(shared.parameters_of(["text"])) == 4
    assert shared.pair("image", 1) is shared.pair("text", 1)
