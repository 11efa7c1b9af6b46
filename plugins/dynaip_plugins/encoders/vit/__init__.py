"""Any vision transformer of the table, read at any layers."""

from dynaip.registry import Component

COMPONENT = Component(
    "encoder",
    "vit",
    "dynaip_plugins.encoders.vit.model:VitEncoder",
    "dynaip_plugins.encoders.vit.config:VitConfig",
    "CLIP, SigLIP, DINO, DINOv2, DINOv3 or C-RADIO, any layers",
)
