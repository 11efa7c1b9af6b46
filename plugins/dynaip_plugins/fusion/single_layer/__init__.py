"""Fusion strategy `single_layer`."""

from dynaip.registry import Component

COMPONENT = Component(
    "fusion",
    "single_layer",
    "dynaip_plugins.fusion.single_layer.model:SingleLayerFusion",
    "dynaip_plugins.fusion.single_layer.config:SingleLayerConfig",
    "one level alone, then an MLP",
)
