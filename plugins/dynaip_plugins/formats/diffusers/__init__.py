"""Format `diffusers`."""

from dynaip.registry import Component

COMPONENT = Component(
    "format",
    "diffusers",
    "dynaip_plugins.formats.diffusers.model:DiffusersFormat",
    summary="what diffusers' FluxPipeline.load_ip_adapter reads",
)
