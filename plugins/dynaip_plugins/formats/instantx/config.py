"""Options of the format instantx: none."""

from __future__ import annotations

from dynaip.config import ComponentConfig


class InstantXConfig(ComponentConfig):
    """The format has no options."""
