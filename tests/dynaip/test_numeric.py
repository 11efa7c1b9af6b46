"""Numbers of Python, numpy and torch are numbers; truth values, texts and what is not finite are none."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from dynaip.errors import InputError
from dynaip.numeric import as_number, four_numbers, weight_from

HALVES = [0.5, np.float32(0.5), np.float64(0.5), np.float16(0.5), np.array(0.5), torch.tensor(0.5), Fraction(1, 2)]
ONES = [1, np.int64(1), np.uint8(1), torch.tensor(1), np.array(1)]
NONE = [
    None,
    "0.5",
    True,
    np.True_,
    torch.tensor(True),
    [0.5],
    np.array([0.5]),
    torch.tensor([0.5]),
    1j,
    Decimal("0.5"),
    {},
]


@pytest.mark.parametrize("value", HALVES, ids=lambda value: type(value).__name__)
def test_a_half_is_a_half(value: Any) -> None:
    assert weight_from(value, "scale ") == as_number(value) == 0.5
    assert type(weight_from(value, "scale ")) is float


@pytest.mark.parametrize("value", ONES, ids=lambda value: type(value).__name__)
def test_whole_numbers_are_numbers(value: Any) -> None:
    assert weight_from(value, "scale ") == 1


@pytest.mark.parametrize(
    "value", [*NONE, float("nan"), float("inf"), -1, 1e30, np.float32("nan"), torch.tensor(-0.5)], ids=repr
)
def test_anything_else_is_one_line(value: Any) -> None:
    with pytest.raises(InputError, match=r"^scale .* must be a number from 0 to 1000$") as caught:
        weight_from(value, "scale ")
    assert "\n" not in str(caught.value)


EDGES = (0.0, 0.25, 0.5, 1.0)


@pytest.mark.parametrize(
    "box",
    [EDGES, list(EDGES), np.array(EDGES), np.array(EDGES, np.float32), torch.tensor(EDGES), [np.float32(e) for e in EDGES],
     [torch.tensor(e) for e in EDGES], [0, 0.25, np.float64(0.5), 1]],
    ids=lambda box: f"{type(box).__name__} of {type(box[0]).__name__}",
)  # fmt: skip
def test_four_numbers_are_a_box(box: Any) -> None:
    assert four_numbers(box) == EDGES


@pytest.mark.parametrize("box", [(0, 1, 1), "0,0,1,1", None, [0, 0, 1, "1"], [0, 0, 1, None], [0, 0, 1, float("nan")],
                                 np.zeros((1, 4)), torch.zeros(2, 2), [0, 0, True, 1]])  # fmt: skip
def test_anything_else_is_none(box: Any) -> None:
    assert four_numbers(box) is None
