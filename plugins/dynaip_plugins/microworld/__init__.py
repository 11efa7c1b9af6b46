"""Microworld: a procedural, fully labelled world with models small enough to ship in the package."""

from dynaip.registry import Command, Component

COMPONENT = Component(
    "bundle",
    "microworld",
    "dynaip_plugins.microworld.bundle:MicroworldBundle",
    summary="Embedded models: a tiny FLUX pipeline, a CLIP vision tower, an oracle, a trained adapter",
)
COMMAND = Command("microworld", "dynaip_plugins.microworld.command:app")
