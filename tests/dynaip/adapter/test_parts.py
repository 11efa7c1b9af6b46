"""The parts of an adapter by themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from dynaip.adapter.parts import home_of
from dynaip.errors import InputError


class Quantised(nn.Module):
    """Weights in whole numbers stand before those in floating point."""

    def __init__(self) -> None:
        super().__init__()
        self.packed = nn.Parameter(torch.zeros(2, dtype=torch.uint8), requires_grad=False)
        self.scale = nn.Parameter(torch.ones(2, dtype=torch.bfloat16))


class Normalising(nn.Module):
    """A buffer alone."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(3, dtype=torch.float64))


@pytest.mark.parametrize(
    ("encoder", "dtype"),
    [
        (nn.Identity(), torch.float32),
        (nn.Linear(2, 2).half(), torch.float16),
        (Quantised(), torch.bfloat16),
        (Normalising(), torch.float64),
    ],
)
def test_pixels_go_where_the_encoder_is(encoder: nn.Module, dtype: torch.dtype) -> None:
    assert home_of(encoder) == (torch.device("cpu"), dtype)


def test_and_to_its_device() -> None:
    assert home_of(nn.Linear(2, 2, device="meta"))[0].type == "meta"


def test_coefficients_that_leave_no_level_are_refused_whatever_the_fusion_does(adapter: Callable[..., Any]) -> None:
    dyna = adapter(attach=False)
    with pytest.raises(InputError, match="all of low, mid, high are 0"):
        dyna.coefficients_of({"low": 0.0, "mid": 0, "high": 0.0})
    dyna.coefficients_of({"low": 0.0, "mid": 0})
