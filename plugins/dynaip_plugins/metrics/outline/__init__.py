"""Outlines on microworld, which the renderer judges."""

from dynaip.registry import Component

COMPONENT = Component(
    "metric",
    "outline",
    "dynaip_plugins.metrics.outline.model:OutlineMetric",
    "dynaip_plugins.metrics.outline.config:OutlineConfig",
    "painted outlines against those that microworld's renderer can draw: no network judges them",
)
