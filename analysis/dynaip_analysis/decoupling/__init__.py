"""What each branch carries, at inference and over training."""

from dynaip.registry import Component

COMPONENT = Component(
    "report_section",
    "decoupling",
    "dynaip_analysis.decoupling.section:DecouplingSection",
    "dynaip_analysis.decoupling.config:DecouplingConfig",
    "Generations through one branch, both, or neither",
)
