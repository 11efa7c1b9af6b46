"""Fusion strategy `projection`."""

from dynaip.registry import Component

COMPONENT = Component(
    "fusion",
    "projection",
    "dynaip_plugins.fusion.projection.model:ProjectionFusion",
    "dynaip_plugins.fusion.projection.config:ProjectionConfig",
    "one embedding projected to a few tokens (XLabs, InstantX)",
)
