"""OmniContext."""

from dynaip.registry import Component

COMPONENT = Component(
    "benchmark",
    "omnicontext",
    "dynaip_plugins.benchmarks.omnicontext.model:OmniContext",
    "dynaip_plugins.benchmarks.omnicontext.config:OmniContextConfig",
    "OmniContext from your copy: characters, objects, scenes",
)
