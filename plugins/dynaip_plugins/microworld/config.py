"""The options of the microworld bundle."""

from __future__ import annotations

from dynaip.config import ComponentConfig


class MicroworldConfig(ComponentConfig):
    """The embedded models have no options."""
