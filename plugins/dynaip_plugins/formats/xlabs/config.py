"""Options of the format xlabs: none."""

from __future__ import annotations

from dynaip.config import ComponentConfig


class XLabsConfig(ComponentConfig):
    """The format has no options."""
