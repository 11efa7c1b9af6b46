"""Makes fusion strategies equally large, so that none wins by its size."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from dynaip.config import ComponentSpec
from dynaip.registry import registry

FIELD = "hidden"
"""Integer field of a fusion's config that widens it."""
WIDEST = 2**20
"""A fusion that is still too small with layers as wide as this does not grow with them."""


def match_parameters(
    specs: Mapping[str, ComponentSpec],
    *,
    widths: Mapping[str, int],
    dim: int,
    condition_dim: int | None,
    target: int | None = None,
) -> tuple[dict[str, ComponentSpec], dict[str, int]]:
    """Widen the smaller fusions until their parameters match the largest; give specs and parameter counts by name.

    ``target`` is a number of parameters to match instead, where the largest is not among them. ``widths`` are
    C_l by level, ``dim`` is D. The search goes over ``hidden``, so what is left over is at most half of
    what one hidden unit costs; a fusion without that option, or that does not grow with it, stays as it is.
    """

    def size(spec: ComponentSpec) -> int:
        return count(spec, widths=widths, dim=dim, condition_dim=condition_dim)

    largest = target or max(size(spec) for spec in specs.values())
    matched = {name: _widened(spec, largest, size) if size(spec) < largest else spec for name, spec in specs.items()}
    return matched, {name: size(spec) for name, spec in matched.items()}


def count(spec: ComponentSpec, *, widths: Mapping[str, int], dim: int, condition_dim: int | None) -> int:
    """Parameters of a fusion, built without memory on the meta device."""
    with torch.device("meta"):
        fusion = registry().build(spec, widths=dict(widths), dim=dim, condition_dim=condition_dim)
    return sum(parameter.numel() for parameter in fusion.parameters())


def _widened(spec: ComponentSpec, target: int, size: Callable[[ComponentSpec], int]) -> ComponentSpec:
    if FIELD not in type(spec.config).model_fields:
        return spec

    def with_hidden(hidden: int) -> ComponentSpec:
        return ComponentSpec(spec.kind, spec.use, spec.config.model_copy(update={FIELD: hidden}))

    def parameters(hidden: int) -> int:
        return size(with_hidden(hidden))

    low, high = 1, 2
    while parameters(high) < target:
        low, high = high, high * 2
        if high > WIDEST:
            return spec
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if parameters(middle) <= target else (low, middle)
    nearest = min((low, high), key=lambda hidden: abs(parameters(hidden) - target))
    return with_hidden(nearest)
