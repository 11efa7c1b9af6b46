"""Options of the projection of one embedding."""

from __future__ import annotations

from typing import Self

from pydantic import PositiveInt

from dynaip.config import ComponentConfig


class ProjectionConfig(ComponentConfig):
    """How many tokens an embedding becomes."""

    tokens: PositiveInt = 4
    """M, the number of reference tokens."""
    hidden: PositiveInt | None = None
    """Width of a hidden layer with GELU before the projection; None projects by one linear layer."""
    level: str | None = None
    """Name of the level; None takes the deepest."""

    def widened(self, hidden: int) -> Self | None:
        """The same projection with another hidden width; one linear layer has none, and stays one linear layer."""
        return None if self.hidden is None else self.model_copy(update={"hidden": hidden})
