"""Options of the outline metric."""

from __future__ import annotations

from dynaip.config import ComponentConfig


class OutlineConfig(ComponentConfig):
    """Which oracle reads what lies inside the outlines."""

    model: str | None = "microworld"
    """Folder of an oracle, or a bundle that has one; None leaves out the columns that need one."""
