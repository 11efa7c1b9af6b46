"""Fusion strategy `resampler`."""

from dynaip.registry import Component

COMPONENT = Component(
    "fusion",
    "resampler",
    "dynaip_plugins.fusion.resampler.model:ResamplerFusion",
    "dynaip_plugins.fusion.resampler.config:ResamplerConfig",
    "a perceiver with a fixed number of query tokens",
)
