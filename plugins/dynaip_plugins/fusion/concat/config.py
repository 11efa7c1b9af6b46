"""Options of channel-wise concatenation."""

from __future__ import annotations

from ..config import FusionConfig


class ConcatConfig(FusionConfig):
    """Channel-wise concatenation of all levels."""
