"""DreamBench."""

from dynaip.registry import Component

COMPONENT = Component(
    "benchmark",
    "dreambench",
    "dynaip_plugins.benchmarks.dreambench.model:DreamBench",
    "dynaip_plugins.benchmarks.dreambench.config:DreamBenchConfig",
    "DreamBench's subjects and prompts from your copy, single and pairs",
)
