"""Decoupling policy `dynamic`."""

from dynaip.registry import Component

COMPONENT = Component(
    "decoupling",
    "dynamic",
    "dynaip_plugins.decoupling.dynamic.model:DynamicPolicy",
    "dynaip_plugins.decoupling.dynamic.config:DynamicConfig",
    "both branches in training, the image branch at inference (the paper's DDS)",
)
