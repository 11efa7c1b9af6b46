"""Benchmark cases of microworld."""

from dynaip.registry import Component

COMPONENT = Component(
    "benchmark",
    "microworld",
    "dynaip_plugins.benchmarks.microworld.model:MicroworldBenchmark",
    "dynaip_plugins.benchmarks.microworld.config:MicroworldBenchmarkConfig",
    "one to four subjects of the embedded world, identities that no training saw",
)
