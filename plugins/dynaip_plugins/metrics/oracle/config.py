"""Options of the oracle metric."""

from __future__ import annotations

from dynaip.config import ComponentConfig


class OracleConfig(ComponentConfig):
    """Which oracle reads the images."""

    model: str = "microworld"
    """Folder of an oracle, or a bundle that has one."""
