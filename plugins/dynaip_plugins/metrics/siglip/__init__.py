"""SigLIP similarity."""

from dynaip.registry import Component

COMPONENT = Component(
    "metric",
    "siglip",
    "dynaip_plugins.metrics.siglip.model:SiglipMetric",
    "dynaip_plugins.metrics.siglip.config:SiglipMetricConfig",
    "SigLIP or SigLIP 2: image to reference and image to prompt",
)
