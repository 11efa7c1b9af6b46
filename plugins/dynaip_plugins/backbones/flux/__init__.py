"""FLUX.1 dev, schnell, Krea and Kontext, and the tiny FLUX of microworld."""

from dynaip.registry import Component

COMPONENT = Component(
    "backbone",
    "flux",
    "dynaip_plugins.backbones.flux.model:FluxBackbone",
    "dynaip_plugins.backbones.flux.config:FluxConfig",
    "FLUX.1: double-stream and single-stream blocks",
)
