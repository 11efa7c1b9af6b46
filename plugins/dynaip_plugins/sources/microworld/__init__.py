"""Training pairs of microworld."""

from dynaip.registry import Component

COMPONENT = Component(
    "source",
    "microworld",
    "dynaip_plugins.sources.microworld.model:MicroworldPairs",
    "dynaip_plugins.sources.microworld.config:MicroworldPairsConfig",
    "single-subject pairs of the embedded world, identities of the train split",
)
