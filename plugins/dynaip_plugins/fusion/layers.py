"""What the fusion strategies share: the two-layer expert, and the user's coefficients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from dynaip.errors import ConfigError, InputError
from dynaip.numeric import weight_from
from dynaip.suggest import did_you_mean


class MLP(nn.Sequential):
    """Two linear layers with GELU between them: width -> hidden -> dim."""

    def __init__(self, width: int, hidden: int, dim: int) -> None:
        super().__init__(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, dim))


def level_norms(widths: Mapping[str, int]) -> nn.ModuleDict:
    """One LayerNorm a level; ``ConfigError`` for a level whose name cannot name a part of a module."""
    empty = nn.ModuleDict()
    for level in widths:
        if not level or "." in level or hasattr(empty, level):
            raise ConfigError(f"encoder.levels: {level!r} cannot be the name of a level; use another word without dots")
    return nn.ModuleDict({level: nn.LayerNorm(width) for level, width in widths.items()})


def chosen_level(wanted: str | None, levels: Iterable[str]) -> str:
    """The level that an option names, by default the deepest; ``ConfigError`` for one that the encoder does not have."""
    names = list(levels)
    level = wanted or names[-1]
    if level not in names:
        hint = did_you_mean(level, names)
        raise ConfigError(f"fusion.level: the encoder has no level {level}; there are {', '.join(names)}.{hint}")
    return level


def output_norm(wanted: bool, dim: int) -> nn.Module:
    """LayerNorm of the tokens, or nothing (ours: it keeps the keys' scale independent of the strategy)."""
    return nn.LayerNorm(dim) if wanted else nn.Identity()


def coefficient_values(coefficients: Mapping[str, float] | None, levels: Iterable[str]) -> list[float] | None:
    """gamma_l in the levels' order; None if all are 1.

    Raises ``InputError`` for an unknown level, a negative value, or zeros alone.
    """
    names = list(levels)
    for level in coefficients or {}:
        if level not in names:
            raise InputError(
                f"granularity: no level {level}; there are {', '.join(names)}.{did_you_mean(level, names)}"
            )
    given = {level: weight_from(value, f"granularity: {level}=") for level, value in (coefficients or {}).items()}
    values = [given.get(level, 1.0) for level in names]
    if all(value == 1 for value in values):
        return None
    if not any(values):
        raise InputError(f"granularity: all of {', '.join(names)} are 0; give at least one level a value above 0")
    return values


CLOSED, SPREAD = 1 / 3, 1.5
"""Coefficients that are drawn: how often a level is closed, and the deviation of the others' logarithm."""


def drawn_coefficients(count: int, levels: int, share: float, device: torch.device) -> Tensor:
    """gamma for `count` references, drawn from torch's generator of the device. [count, levels] float32.

    A `share` of the rows is drawn: levels are closed by chance, one at least stays open, and the open ones get log-normal
    factors. All other rows are 1.
    """
    open_ = torch.rand(count, levels, device=device) >= CLOSED
    kept = torch.randint(levels, (count, 1), device=device)
    open_ = open_.scatter(1, kept, True)
    factors = (SPREAD * torch.randn(count, levels, device=device)).exp() * open_
    return torch.where(torch.rand(count, 1, device=device) < share, factors, 1.0)


def steered(weights: Tensor, coefficients: list[float] | Tensor | None) -> Tensor:
    """Multiply weights over levels (... x L) by gamma_l (L numbers, or a tensor that fits) and make them sum to one again.

    The rule is ours; fig. 1b shows the effect. Without coefficients the weights come back as they are.
    """
    if coefficients is None:
        return weights
    # The floor keeps a level alone at 1 even where the router had given it nothing; half precision has no room for it.
    exact = torch.promote_types(weights.dtype, torch.float32)
    if isinstance(coefficients, list):
        largest = max(coefficients)
        coefficients = torch.tensor([value / largest for value in coefficients], device=weights.device, dtype=exact)
    gamma = coefficients / coefficients.amax(dim=-1, keepdim=True)
    raised = weights.to(exact).clamp_min(1e-30) * gamma.to(exact)
    return (raised / raised.sum(dim=-1, keepdim=True)).to(weights.dtype)


def refuse_coefficients(name: str, coefficients: Mapping[str, float] | None, levels: Iterable[str]) -> None:
    """Raise ``ConfigError`` if a strategy without weights over levels is asked to steer them."""
    if coefficient_values(coefficients, levels) is not None:
        raise ConfigError(f"granularity: the fusion {name} has no weights over levels to steer; use hmoe or average")
