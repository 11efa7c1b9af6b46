"""MultiBanana."""

from dynaip.registry import Component

COMPONENT = Component(
    "benchmark",
    "multibanana",
    "dynaip_plugins.benchmarks.multibanana.model:MultiBanana",
    "dynaip_plugins.benchmarks.multibanana.config:MultiBananaConfig",
    "MultiBanana from your copy: up to eight references, by task",
)
