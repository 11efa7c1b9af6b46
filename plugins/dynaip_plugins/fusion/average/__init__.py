"""Fusion strategy `average`."""

from dynaip.registry import Component

COMPONENT = Component(
    "fusion",
    "average",
    "dynaip_plugins.fusion.average.model:AverageFusion",
    "dynaip_plugins.fusion.average.config:AverageConfig",
    "mean of the projected levels",
)
