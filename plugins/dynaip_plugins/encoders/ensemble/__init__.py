"""Levels from several vision transformers at once."""

from dynaip.registry import Component

COMPONENT = Component(
    "encoder",
    "ensemble",
    "dynaip_plugins.encoders.ensemble.model:EnsembleEncoder",
    "dynaip_plugins.encoders.ensemble.config:EnsembleConfig",
    "levels from several towers: low: dinov2@0.4, high: siglip2@1.0",
)
