"""Fusion strategy `average`."""

from dynaip.registry import Component

COMPONENT = Component(
    "fusion",
    "average",
    "dynaip_plugins.fusion.average.model:AverageFusion",
    "dynaip_plugins.fusion.config:FusionConfig",
    "mean of the projected levels",
)
