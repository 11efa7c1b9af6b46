"""Makes fusion strategies equally large, so that none wins by its size."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from dynaip.config import ComponentSpec
from dynaip.notes import tell
from dynaip.registry import registry

CLOSE = 0.02
"""Share of the parameters by which fusions may differ without a word."""
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
    C_l by level, ``dim`` is D. The search goes over the width that a fusion's config says it can
    take (``widened``), so what is left over is at most half of what one hidden unit costs; a fusion that cannot be widened,
    or does not grow with it, stays as it is.
    """

    def size(spec: ComponentSpec) -> int:
        return count(spec, widths=widths, dim=dim, condition_dim=condition_dim)

    largest = target or max(size(spec) for spec in specs.values())
    matched = {name: _widened(spec, largest, size) if size(spec) < largest else spec for name, spec in specs.items()}
    counts = {name: size(spec) for name, spec in matched.items()}
    for name, parameters in counts.items():
        if parameters < (1 - CLOSE) * largest:
            short = f"stays at {parameters} parameters where the largest has {largest}: it cannot be widened"
            tell(f"match_parameters: fusion {specs[name].name} {short}")
    return matched, counts


def count(spec: ComponentSpec, *, widths: Mapping[str, int], dim: int, condition_dim: int | None) -> int:
    """Parameters of a fusion, built without memory on the meta device."""
    with torch.device("meta"):
        fusion = registry().build(spec, widths=dict(widths), dim=dim, condition_dim=condition_dim)
    return sum(parameter.numel() for parameter in fusion.parameters())


def _widened(spec: ComponentSpec, target: int, size: Callable[[ComponentSpec], int]) -> ComponentSpec:
    if spec.config.widened(1) is None:
        return spec

    def with_hidden(hidden: int) -> ComponentSpec:
        return ComponentSpec(spec.kind, spec.use, spec.config.widened(hidden) or spec.config)

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
