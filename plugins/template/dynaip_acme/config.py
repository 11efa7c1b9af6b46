"""Options of the components. No torch here: `dynaip show` and `dynaip check` import this file."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, PositiveInt

from dynaip.config import ComponentConfig, PolicyConfig


class GatedConfig(ComponentConfig):
    """Options of the fusion `gated`."""

    hidden: PositiveInt | None = None
    """Width of the hidden layer; None takes that of the tokens."""

    def widened(self, hidden: int) -> Self:
        """Take part in parameter matching: the same fusion with a hidden layer of another width."""
        return self.model_copy(update={"hidden": hidden})


class PatchConfig(ComponentConfig):
    """Options of the encoder `patches`."""

    rows: PositiveInt = 8
    """Patches along each edge."""


class FadedConfig(PolicyConfig):
    """Options of the policy `faded`."""

    until: float = Field(0.5, gt=0, le=1)
    """Denoising progress at which the text branch no longer looks at the reference."""

    def training_part(self) -> dict[str, Any]:
        """Training opens both branches, whatever `until` is: one training serves every value of it."""
        return {"image": 1.0, "text": 1.0}
