"""Options of a single level."""

from __future__ import annotations

from ..config import FusionConfig


class SingleLayerConfig(FusionConfig):
    """Which level is used alone."""

    level: str | None = None
    """Name of the level; None takes the deepest."""
