"""What counts as a number: Python's, numpy's, and arrays or tensors without dimensions; no truth values, no texts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

from dynaip.errors import InputError

LARGEST = 1000.0
"""Weights beyond it leave nothing of the picture, and overflow in half precision."""


def as_number(value: Any) -> float | None:
    """The number that ``value`` is; None if it is none."""
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, bool) or not isinstance(value, Real) else float(value)


def weight_from(value: Any, name: str) -> float:
    """A number from 0 to 1000; ``InputError`` otherwise, which begins with ``name`` and its sign (``scale ``, ``low=``)."""
    number = as_number(value)
    if number is None or not 0 <= number <= LARGEST:
        raise InputError(f"{name}{_shown(value)} must be a number from 0 to {LARGEST:g}")
    return number


def four_numbers(value: Any) -> tuple[float, float, float, float] | None:
    """The four numbers of a box, as a list, an array or a tensor with one dimension; None if ``value`` is something else."""
    if not isinstance(value, (tuple, list)) and (getattr(value, "ndim", None) != 1 or not hasattr(value, "tolist")):
        return None
    items: Sequence[Any] = value if isinstance(value, (tuple, list)) else value.tolist()
    found = [as_number(item) for item in items]
    if len(found) != 4 or any(item is None or not math.isfinite(item) for item in found):
        return None
    left, top, right, bottom = (float(item or 0) for item in found)
    return left, top, right, bottom


def _shown(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}…"
