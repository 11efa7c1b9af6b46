"""Decoupling policy `coupled`."""

from dynaip.registry import Component

COMPONENT = Component(
    "decoupling",
    "coupled",
    "dynaip_plugins.decoupling.coupled.model:CoupledPolicy",
    "dynaip_plugins.decoupling.coupled.config:CoupledConfig",
    "both branches in training and at inference",
)
