"""The base's loss against a model that knows the answer."""

from __future__ import annotations

import torch

from dynaip_plugins.microworld.making import flux
from dynaip_plugins.microworld.models import tokens


def test_flow_loss_of_a_model_that_knows_the_answer_is_zero() -> None:
    """For data that is all zero, x_t = t eps, so the velocity eps - x_0 is x_t / t."""

    def knows(latents: torch.Tensor, time: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        return latents / time[:, None, None]

    ids = tokens.encode(tokens.create(), ["a star"] * 4)
    loss = flux.flow_loss(knows, torch.zeros(4, 64, 16), ids, torch.Generator().manual_seed(0))
    assert loss < 1e-4
