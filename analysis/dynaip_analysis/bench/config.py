"""Options of the report sections: what every one has."""

from __future__ import annotations

from pydantic import Field, NonNegativeInt

from dynaip.config import ComponentConfig


class SectionConfig(ComponentConfig):
    """What every section has."""

    order: int = Field(50, ge=0, le=100)
    """Where the section stands among the others."""
    run: str | None = None
    """RUN to look into; None takes the shipped adapter beside the arms, and the reference arm if there is none."""
    suite: str = "single"
    """Suite of the benchmark that the cases come from."""
    seed: NonNegativeInt = 0
