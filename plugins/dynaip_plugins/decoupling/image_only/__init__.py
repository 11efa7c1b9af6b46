"""Decoupling policy `image_only`."""

from dynaip.registry import Component

COMPONENT = Component(
    "decoupling",
    "image_only",
    "dynaip_plugins.decoupling.image_only.model:ImageOnlyPolicy",
    "dynaip_plugins.decoupling.image_only.config:ImageOnlyConfig",
    "the image branch alone, always (the usual IP-Adapter)",
)
