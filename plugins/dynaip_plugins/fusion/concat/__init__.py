"""Fusion strategy `concat`."""

from dynaip.registry import Component

COMPONENT = Component(
    "fusion",
    "concat",
    "dynaip_plugins.fusion.concat.model:ConcatFusion",
    "dynaip_plugins.fusion.config:FusionConfig",
    "levels side by side along channels, then an MLP",
)
