"""Several sources together."""

from dynaip.registry import Component

COMPONENT = Component(
    "source",
    "mix",
    "dynaip_plugins.sources.mix.model:MixedPairs",
    "dynaip_plugins.sources.mix.config:MixConfig",
    "several sources, by weight",
)
