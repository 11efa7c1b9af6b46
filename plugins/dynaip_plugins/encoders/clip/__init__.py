"""Any CLIP vision tower, read at any layers."""

from dynaip.registry import Component

COMPONENT = Component(
    "encoder",
    "clip",
    "dynaip_plugins.encoders.clip.model:ClipEncoder",
    "dynaip_plugins.encoders.clip.config:ClipConfig",
    "CLIP vision tower, any layers",
)
