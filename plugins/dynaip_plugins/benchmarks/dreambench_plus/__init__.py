"""DreamBench++: 150 subjects and styles, nine prompts each."""

from dynaip.registry import Component

COMPONENT = Component(
    "benchmark",
    "dreambench_plus",
    "dynaip_plugins.benchmarks.dreambench_plus.model:DreamBenchPlus",
    "dynaip_plugins.benchmarks.dreambench_plus.config:DreamBenchPlusConfig",
    "DreamBench++ from your copy: 150 pictures x 9 prompts, by category",
)
