"""What the fusion's router chooses, and what its choice depends on."""

from dynaip.registry import Component

COMPONENT = Component(
    "report_section",
    "routing",
    "dynaip_analysis.routing.section:RoutingSection",
    "dynaip_analysis.routing.config:RoutingConfig",
    "Router weights over reference patches and on average",
)
