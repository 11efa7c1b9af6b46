"""Each subject of a scene with the reference that it should be."""

from dynaip.registry import Component

COMPONENT = Component(
    "metric",
    "subjects",
    "dynaip_plugins.metrics.subjects.model:SubjectsMetric",
    "dynaip_plugins.metrics.subjects.config:SubjectsConfig",
    "several references: each region with each reference, best assignment, swaps",
)
