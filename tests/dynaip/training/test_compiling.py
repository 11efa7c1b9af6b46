"""Compiled blocks in a training: the same gradients, one graph a kind of block, and nothing left of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from dynaip.adapter.compiled import is_compiled
from dynaip.training.objective import flow_matching_loss
from dynaip.training.speed import compiled_blocks


def gradients(dyna: Any, pipe: Any, size: tuple[int, int]) -> list[Tensor]:
    """Of everything that is trained, from one batch of two."""
    torch.manual_seed(0)
    rows, columns = dyna.encoder.grid
    features = {level: torch.randn(2, rows * columns, width) for level, width in dyna.encoder.widths.items()}
    text = dyna.backbone.encode_prompts(pipe, ["a star", "a mug"])
    clean = torch.randn(2, size[0] * size[1] // (2 * pipe.vae_scale_factor) ** 2, pipe.transformer.config.in_channels)
    with dyna.training_pass(features, torch.ones(2, dtype=torch.bool)):
        velocity = dyna.backbone.velocity(pipe, clean, torch.tensor([0.3, 0.8]), text, size)
        flow_matching_loss(velocity, clean, torch.zeros_like(clean)).backward()
    found = [each.grad.clone() for each in dyna.trainable_parameters()]
    dyna.zero_grad()
    return found


def test_compiled_blocks_train_alike(
    adapter: Callable[..., Any], tiny_flux: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Graphs are run as they were traced: what the compiler makes of them is torch's own."""
    torch.compiler.reset()
    model = tiny_flux.transformer
    own = type(model).compile_repeated_blocks
    monkeypatch.setattr(type(model), "compile_repeated_blocks", lambda self: own(self, backend="eager"))
    dyna, told = adapter(decoupling="coupled").train(), list[str]()
    plain = gradients(dyna, tiny_flux, (64, 64))
    assert sum(bool(each.any()) for each in plain) > 10
    with compiled_blocks(model, True, told.append):
        for _ in range(2):
            for one, other in zip(plain, gradients(dyna, tiny_flux, (64, 64)), strict=True):
                torch.testing.assert_close(one, other)
    assert told == ["compiled 2 graphs of the blocks; more than one a kind of block are recompiles"]
    assert not is_compiled(model)
    with compiled_blocks(model, True, told.append):
        gradients(dyna, tiny_flux, (64, 64))
        gradients(dyna, tiny_flux, (32, 64))
    assert told[1] > told[0], "another size is compiled anew"
    with compiled_blocks(model, False, told.append):
        assert not is_compiled(model)
    assert len(told) == 2
    torch.compiler.reset()
