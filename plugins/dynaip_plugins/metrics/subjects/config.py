"""Options of the matching of subjects."""

from __future__ import annotations

from ...shared.looking import TowerConfig


class SubjectsConfig(TowerConfig):
    """Which tower compares."""

    model: str = "facebook/dinov2-small"
    """Hub id, folder or bundle of a vision tower."""
