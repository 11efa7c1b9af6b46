"""Decoupling policy `text_only`."""

from dynaip.registry import Component

COMPONENT = Component(
    "decoupling",
    "text_only",
    "dynaip_plugins.decoupling.text_only.model:TextOnlyPolicy",
    "dynaip_plugins.decoupling.text_only.config:TextOnlyConfig",
    "the text branch alone: what it carries",
)
