"""Levels of an encoder: names of layers, which are given by index or as a share of the depth."""

from __future__ import annotations

from collections.abc import Mapping

from dynaip.errors import ConfigError

RELATIVE_DEPTHS = {"low": 10 / 24, "mid": 17 / 24, "high": 1.0}
"""Layers 10 and 17 are the paper's low and mid (fig. 4); the last as high, and the scaling of all, are ours."""


def chosen_levels(levels: Mapping[str, int | float] | None, depth: int) -> dict[str, int]:
    """Level name -> layer, from shallow to deep; ``ConfigError`` names the range of the model.

    An integer is the number of layers that have run; 0.42 is that share of the depth, and 1.0 the last layer.
    """
    found = {name: layer_at(given, depth, name) for name, given in (levels or RELATIVE_DEPTHS).items()}
    return dict(sorted(found.items(), key=lambda item: item[1]))


def layer_at(given: int | float, depth: int, name: str) -> int:
    """The layer that one level means."""
    if isinstance(given, float):
        if not 0 <= given <= 1:
            raise ConfigError(f"encoder.levels.{name}: {given:g} is a share of the depth: write 0.0 to 1.0, or a layer")
        return round(given * depth)
    if not 0 <= given <= depth:
        raise ConfigError(f"encoder.levels.{name}: layer {given} is not within 0 and {depth}")
    return given
