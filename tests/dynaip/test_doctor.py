"""What ``dynaip doctor`` says, on a machine whose parts are broken one by one."""

from __future__ import annotations

import pytest
import torch

from dynaip import device, doctor
from dynaip.doctor import Check, examine


@pytest.fixture
def found() -> dict[tuple[str, str], Check]:
    return {(each.part, each.name): each for each in examine().checks}


def test_what_a_default_needs_works_here(found: dict[tuple[str, str], Check]) -> None:
    assert all(each.works for each in found.values() if each.needed)
    assert found["version", "torch"].found == torch.__version__
    assert found["attention", "as training uses it"].needed
    assert found["plugin", "builtin"].needed


def test_a_kernel_that_computes_wrongly_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        torch.nn.functional,
        "scaled_dot_product_attention",
        lambda query, key, value, *rest, **more: value * 1.5 + 0 * query,
    )
    math = next(each for each in examine().checks if each.name == "torch math")
    assert not math.works
    assert "not that of the softmax" in math.found


def test_a_kernel_whose_backward_pass_is_wrong_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    own = torch.nn.functional.scaled_dot_product_attention

    def detached(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *rest: object) -> torch.Tensor:
        return own(query.detach(), key, value) + 0 * query

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", detached)
    assert not next(each for each in examine().checks if each.name == "torch math").works


def test_a_device_that_the_variable_names_and_that_is_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(device.VARIABLE, "cuda:63")
    told = examine()
    assert not told.healthy
    assert "'cuda:63' is not on this machine" in next(
        each.found for each in told.checks if each.name == device.VARIABLE
    )


def test_a_missing_extra_comes_with_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "missing_packages", lambda distribution, extra: ["mkdocs"] if extra == "docs" else [])
    docs = next(each for each in examine().checks if each.name == "docs")
    assert not docs.works
    assert docs.found.startswith('pip install "dynaip[docs]"')
    assert not docs.needed
