"""Options of the mean of levels."""

from __future__ import annotations

from ..config import FusionConfig


class AverageConfig(FusionConfig):
    """Mean of the projected levels."""
