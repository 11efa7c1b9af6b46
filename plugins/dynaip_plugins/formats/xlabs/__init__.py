"""Format `xlabs`."""

from dynaip.registry import Component

COMPONENT = Component(
    "format",
    "xlabs",
    "dynaip_plugins.formats.xlabs.model:XLabsFormat",
    "dynaip_plugins.formats.xlabs.config:XLabsConfig",
    "XLabs FLUX IP-Adapter v1 and v2",
)
