"""Options of XVerseBench."""

from __future__ import annotations

from ..copies import CopyConfig


class XVerseBenchConfig(CopyConfig):
    """None beside the copy and the size."""
