"""Format `xlabs`."""

from dynaip.registry import Component

COMPONENT = Component(
    "format",
    "xlabs",
    "dynaip_plugins.formats.xlabs.model:XLabsFormat",
    summary="XLabs FLUX IP-Adapter v1 and v2",
)
