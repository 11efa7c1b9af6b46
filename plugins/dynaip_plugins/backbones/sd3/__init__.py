"""Stable Diffusion 3 and 3.5, medium and large."""

from dynaip.registry import Component

COMPONENT = Component(
    "backbone",
    "sd3",
    "dynaip_plugins.backbones.sd3.model:SD3Backbone",
    "dynaip_plugins.backbones.sd3.config:SD3Config",
    "Stable Diffusion 3 and 3.5: double-stream blocks, guidance in one batch",
)
