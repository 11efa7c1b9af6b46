"""CLIP-I and CLIP-T."""

from dynaip.registry import Component

COMPONENT = Component(
    "metric",
    "clip",
    "dynaip_plugins.metrics.clip.model:ClipMetric",
    "dynaip_plugins.metrics.clip.config:ClipMetricConfig",
    "CLIP-I (image to reference) and CLIP-T (image to prompt)",
)
