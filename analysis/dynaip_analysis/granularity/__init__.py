"""What each encoder level and layer preserves."""

from dynaip.registry import Component

COMPONENT = Component(
    "report_section",
    "granularity",
    "dynaip_analysis.granularity.section:GranularitySection",
    "dynaip_analysis.granularity.config:GranularityConfig",
    "Generations over a sweep of fusion coefficients",
)
