"""Options of MultiBanana."""

from __future__ import annotations

from ..copies import CopyConfig


class MultiBananaConfig(CopyConfig):
    """Which tasks of MultiBanana."""

    tasks: list[str] | None = None
    """Folders of tasks, such as 3_back; None takes all that the copy has."""
