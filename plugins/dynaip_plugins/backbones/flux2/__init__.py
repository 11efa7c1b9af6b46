"""FLUX.2 dev and klein."""

from dynaip.registry import Component

COMPONENT = Component(
    "backbone",
    "flux2",
    "dynaip_plugins.backbones.flux2.model:Flux2Backbone",
    "dynaip_plugins.backbones.flux2.config:Flux2Config",
    "FLUX.2: double-stream and parallel single-stream blocks",
)
