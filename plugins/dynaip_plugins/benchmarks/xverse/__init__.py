"""XVerseBench."""

from dynaip.registry import Component

COMPONENT = Component(
    "benchmark",
    "xverse",
    "dynaip_plugins.benchmarks.xverse.model:XVerseBench",
    "dynaip_plugins.benchmarks.xverse.config:XVerseBenchConfig",
    "XVerseBench from your copy: one to three subjects",
)
