"""The base's loss against a model that knows the answer, and its pass against diffusers' own."""

from __future__ import annotations

import warnings

import pytest
import torch

from dynaip_plugins.microworld.making import flux
from dynaip_plugins.microworld.making.words import empty_ids
from dynaip_plugins.microworld.models import tokens


def test_flow_loss_of_a_model_that_knows_the_answer_is_zero() -> None:
    """For data that is all zero, x_t = t eps, so the velocity eps - x_0 is x_t / t."""

    def knows(latents: torch.Tensor, time: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return latents / time[:, None, None], latents

    torch.manual_seed(0)
    ids = tokens.encode(tokens.create(), ["a star"] * 4)
    loss, _ = flux.flow_loss(knows, torch.zeros(4, 64, 32), ids)
    assert loss < 1e-4


def test_a_base_in_training_is_not_warned_of() -> None:
    ids = empty_ids(torch.device("cpu")).expand(2, -1)
    once, base = torch.is_warn_always_enabled(), flux.Base()
    torch.set_warn_always(True)  # whatever ran before in this process
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            flux.flow_loss(base, torch.zeros(2, 64, 32), ids)[0].backward()
    finally:
        torch.set_warn_always(once)


def test_hints_fall_from_their_weight_to_nothing() -> None:
    shares = torch.tensor([0.0, flux.HINTS_FALL, (flux.HINTS_FALL + flux.HINTS_END) / 2, flux.HINTS_END, 1.0])
    assert flux.hint_weight(shares).tolist() == pytest.approx([flux.HINT_WEIGHT] * 2 + [flux.HINT_WEIGHT / 2, 0, 0])
