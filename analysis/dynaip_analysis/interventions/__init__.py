"""What the reference term does at each block and step."""

from dynaip.registry import Component

COMPONENT = Component(
    "report_section",
    "interventions",
    "dynaip_analysis.interventions.section:InterventionsSection",
    "dynaip_analysis.interventions.config:InterventionsConfig",
    "What the reference term does at each block and step: dropped, scaled or swapped",
)
