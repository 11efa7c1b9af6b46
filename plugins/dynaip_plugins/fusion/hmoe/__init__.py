"""Fusion strategy `hmoe`."""

from dynaip.registry import Component

COMPONENT = Component(
    "fusion",
    "hmoe",
    "dynaip_plugins.fusion.hmoe.model:HMoEFusion",
    "dynaip_plugins.fusion.hmoe.config:HMoEConfig",
    "experts per level, mixed by a router (the paper's module)",
)
