"""Similarity of subjects without their backgrounds."""

from dynaip.registry import Component

COMPONENT = Component(
    "metric",
    "masked",
    "dynaip_plugins.metrics.masked.model:MaskedMetric",
    "dynaip_plugins.metrics.masked.config:MaskedConfig",
    "features inside a foreground mask of image and reference",
)
