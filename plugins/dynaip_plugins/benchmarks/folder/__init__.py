"""A benchmark of one's own: a table of prompts and references."""

from dynaip.registry import Component

COMPONENT = Component(
    "benchmark",
    "folder",
    "dynaip_plugins.benchmarks.folder.model:FolderBenchmark",
    "dynaip_plugins.benchmarks.folder.config:FolderConfig",
    "your own cases: a table with prompt, references, regions, seed, category",
)
