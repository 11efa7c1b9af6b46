"""Format `instantx`."""

from dynaip.registry import Component

COMPONENT = Component(
    "format",
    "instantx",
    "dynaip_plugins.formats.instantx.model:InstantXFormat",
    summary="InstantX FLUX.1-dev IP-Adapter",
)
