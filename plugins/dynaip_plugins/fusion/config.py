"""Options that every fusion strategy has."""

from __future__ import annotations

from typing import Self

from pydantic import PositiveInt

from dynaip.config import ComponentConfig


class FusionConfig(ComponentConfig):
    """Size of a fusion strategy."""

    hidden: PositiveInt | None = None
    """Width of the hidden layers; None takes the width of the reference tokens. Parameter matching sets it."""
    output_norm: bool = True
    """LayerNorm of the reference tokens."""

    def widened(self, hidden: int) -> Self:
        """The same strategy with hidden layers of another width."""
        return self.model_copy(update={"hidden": hidden})
