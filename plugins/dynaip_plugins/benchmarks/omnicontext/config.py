"""Options of OmniContext."""

from __future__ import annotations

from ..copies import CopyConfig


class OmniContextConfig(CopyConfig):
    """None beside the copy and the size."""
