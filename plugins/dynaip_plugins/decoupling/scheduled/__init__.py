"""Decoupling policy `scheduled`."""

from dynaip.registry import Component

COMPONENT = Component(
    "decoupling",
    "scheduled",
    "dynaip_plugins.decoupling.scheduled.model:ScheduledPolicy",
    "dynaip_plugins.decoupling.scheduled.config:ScheduledConfig",
    "weights as curves over denoising progress and blocks",
)
