"""The user's coefficients: what they do to weights over levels, exactly, in every precision."""

from __future__ import annotations

import pytest
import torch

from dynaip.config import ComponentSpec
from dynaip.errors import ConfigError
from dynaip.registry import registry
from dynaip_plugins.fusion.layers import coefficient_values, drawn_coefficients, level_norms, steered

LEVELS = ("low", "mid", "high")
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def weights(seed: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(seed)).mul(3).softmax(-1).to(dtype)


def test_unnamed_levels_count_one_and_names_may_come_in_any_order() -> None:
    assert coefficient_values({"high": 2.0, "low": 0.5}, LEVELS) == [0.5, 1.0, 2.0]
    assert coefficient_values({}, LEVELS) is None
    assert coefficient_values(None, LEVELS) is None
    assert coefficient_values({"mid": 1}, LEVELS) is None


@pytest.mark.parametrize("seed", range(5))
def test_steering_by_hand(seed: int) -> None:
    given, gamma = weights(seed), [0.25, 1.0, 3.0]
    found = steered(given, gamma)
    for row, expected in zip(found.reshape(-1, 3).tolist(), given.reshape(-1, 3).tolist(), strict=True):
        raised = [weight * factor for weight, factor in zip(expected, gamma, strict=True)]
        assert row == pytest.approx([value / sum(raised) for value in raised], rel=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_without_coefficients_nothing_is_touched(dtype: torch.dtype) -> None:
    given = weights(0, dtype)
    assert steered(given, None) is given


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("level", range(3))
def test_one_hot_is_exactly_one_level_even_against_the_router(dtype: torch.dtype, level: int) -> None:
    """Also where the router had given that level nothing at all."""
    against = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.2, 0.3, 0.5]], dtype=dtype)
    gamma = [0.0, 0.0, 0.0]
    gamma[level] = 0.7
    expected = torch.zeros(4, 3, dtype=dtype)
    expected[:, level] = 1
    assert torch.equal(steered(against, gamma), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1e-30, 0.1, 7.0, 1e30])
def test_only_ratios_of_coefficients_matter(dtype: torch.dtype, scale: float) -> None:
    given = weights(1, dtype)
    found, expected = steered(given, [scale, 2 * scale, 4 * scale]), steered(given, [1.0, 2.0, 4.0])
    assert found.dtype == dtype
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found.float().sum(-1), torch.ones(4, 5), atol=1e-2, rtol=0)


def test_coefficients_by_reference_steer_each_by_its_own() -> None:
    given = weights(1, torch.float32)
    each = [[1.0, 2.0, 4.0], [0.0, 1.0, 0.0], [1.0, 1.0, 1.0], [3.0, 0.0, 1.0]]
    found = steered(given, torch.tensor(each)[:, None])
    for row, gamma in enumerate(each):
        torch.testing.assert_close(found[row], steered(given[row], gamma))


def test_drawn_coefficients_leave_a_level_open_and_most_references_alone() -> None:
    torch.manual_seed(0)
    drawn = drawn_coefficients(4000, 3, 0.25, torch.device("cpu"))
    assert (drawn >= 0).all() and (drawn.amax(1) > 0).all()
    changed = drawn[(drawn != 1).any(1)]
    assert len(changed) / 4000 == pytest.approx(0.25, abs=0.03)
    assert (changed == 0).float().mean().item() == pytest.approx(1 / 3 * 2 / 3, abs=0.03)
    factors = changed[changed > 0].log()
    assert factors.mean().item() == pytest.approx(0, abs=0.15) and factors.std().item() == pytest.approx(1.5, abs=0.15)
    assert (drawn_coefficients(9, 2, 0.0, torch.device("cpu")) == 1).all()


@pytest.mark.parametrize("level", ["", "layer.3", "keys", "training"])
def test_a_level_needs_a_name_that_a_module_can_have(level: str) -> None:
    with pytest.raises(ConfigError, match="cannot be the name of a level"):
        level_norms({level: 4})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("steer", [None, {"low": 2.0}])
def test_every_strategy_keeps_its_precision_and_gives_gradient(
    dtype: torch.dtype, steer: dict[str, float] | None
) -> None:
    widths = {"low": 6, "high": 4}
    levels = {name: torch.ones(2, 3, width, dtype=dtype).cumsum(1) for name, width in widths.items()}
    for entry in registry().components("fusion"):
        fusion = registry().build(ComponentSpec.parse("fusion", entry.qualified), widths=widths, dim=8, condition_dim=5)
        fusion.to(dtype)
        given = steer if entry.component.name in ("hmoe", "average") else None
        tokens = fusion(levels, coefficients=given).tokens
        assert tokens.dtype == dtype, entry.qualified
        (tokens * torch.arange(8)).sum().backward()
        without = [name for name, parameter in fusion.named_parameters() if parameter.grad is None]
        assert without == [], entry.qualified
