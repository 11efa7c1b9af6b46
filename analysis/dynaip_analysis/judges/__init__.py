"""Whether the metrics of a run agree with each other."""

from dynaip.registry import Component

COMPONENT = Component(
    "report_section",
    "judges",
    "dynaip_analysis.judges.section:JudgesSection",
    "dynaip_analysis.judges.config:JudgesConfig",
    "Whether the metrics agree: case by case, over arms, and on a case's own reference",
)
