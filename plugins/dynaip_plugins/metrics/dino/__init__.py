"""DINO similarity."""

from dynaip.registry import Component

COMPONENT = Component(
    "metric",
    "dino",
    "dynaip_plugins.metrics.dino.model:DinoMetric",
    "dynaip_plugins.metrics.dino.config:DinoConfig",
    "DINO, DINOv2 or DINOv3: cosine of class tokens between image and reference",
)
