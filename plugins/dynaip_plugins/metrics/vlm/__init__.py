"""Concept preservation and prompt following as a vision-language model judges them."""

from dynaip.registry import Component

COMPONENT = Component(
    "metric",
    "vlm",
    "dynaip_plugins.metrics.vlm.model:VlmMetric",
    "dynaip_plugins.metrics.vlm.config:VlmConfig",
    "CP and PF by a vision-language model: a local one, or any OpenAI-compatible endpoint",
)
