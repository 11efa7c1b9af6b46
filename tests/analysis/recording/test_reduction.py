"""Attention weights from halves: exact products in float32, whichever way a device makes them."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest
import torch
from torch import Tensor

from dynaip_analysis.recording import reduction

OWN = torch.baddbmm


@pytest.fixture(autouse=True)
def _asked_anew() -> Generator[None]:
    reduction.multiplies_halves.cache_clear()
    yield
    reduction.multiplies_halves.cache_clear()


def halves() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(2, 3, 11, 8).bfloat16(), torch.randn(2, 3, 5, 8).bfloat16()


def by_hand(query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
    weights = (query.double() @ key.double().mT / 8**0.5).softmax(-1)
    return weights, -(weights * weights.log()).sum(-1)


def check(query: Tensor, key: Tensor) -> None:
    for one, other in zip(reduction.weights_and_entropy(query, key), by_hand(query, key), strict=True):
        torch.testing.assert_close(one, other.float(), atol=1e-6, rtol=1e-5)


def test_weights_and_entropy_of_halves() -> None:
    assert not reduction.multiplies_halves(torch.device("cpu"), torch.bfloat16)
    check(*halves())


class Device:
    """A device that multiplies halves into float32, and what it was given."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor, self.seen = factor, list[torch.dtype]()

    def baddbmm(
        self, start: Tensor, one: Tensor, other: Tensor, *, out_dtype: Any = None, out: Any, **more: Any
    ) -> Tensor:
        self.seen.append(one.dtype)
        if out_dtype is None:
            return OWN(start, one, other, out=out, **more)
        return OWN(start, one.float() * self.factor, other.float(), out=out, **more)


def as_on(device: Device, monkeypatch: pytest.MonkeyPatch) -> bool:
    """What is found out about such a device, here of a CPU under another name."""
    monkeypatch.setattr(torch, "baddbmm", device.baddbmm)
    monkeypatch.setattr(torch, "linspace", lambda *given, device, own=torch.linspace: own(*given))
    found = reduction.multiplies_halves(torch.device("cuda"), torch.bfloat16)
    monkeypatch.setattr(reduction, "multiplies_halves", lambda device, dtype: found)
    return found


def test_a_device_that_multiplies_halves_is_given_them(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device()
    assert as_on(device, monkeypatch)
    check(*halves())
    assert set(device.seen) == {torch.bfloat16}


def test_one_that_does_it_wrongly_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(factor=1.01)
    assert not as_on(device, monkeypatch)
    check(*halves())
    assert device.seen[1:] == [torch.float32]


def test_one_that_cannot_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU torch itself refuses."""
    monkeypatch.setattr(torch, "linspace", lambda *given, device, own=torch.linspace: own(*given))
    assert not reduction.multiplies_halves(torch.device("cuda"), torch.float16)
