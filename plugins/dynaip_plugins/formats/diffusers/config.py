"""Options of the format diffusers: none."""

from __future__ import annotations

from dynaip.config import ComponentConfig


class DiffusersConfig(ComponentConfig):
    """The format has no options."""
