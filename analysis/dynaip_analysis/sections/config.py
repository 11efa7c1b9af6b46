"""Options of the report sections."""

from __future__ import annotations

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

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


class AttentionConfig(SectionConfig):
    """Options of the section on attention."""

    order: int = Field(10, ge=0, le=100)
    cases: PositiveInt = 2
    """Cases that are drawn."""
    budget: str = "512MB"
    """Bytes that recorded maps may take."""


class RoutingConfig(SectionConfig):
    """Options of the section on routing."""

    order: int = Field(20, ge=0, le=100)
    cases: PositiveInt = 64
    """References that the averages are over."""
    shown: PositiveInt = 3
    """References whose maps are drawn."""


class GranularityConfig(SectionConfig):
    """Options of the section on granularity."""

    order: int = Field(30, ge=0, le=100)
    cases: PositiveInt = 16
    """Cases behind the measured means."""
    shown: PositiveInt = 3
    """Cases that are drawn."""
    gammas: list[PositiveFloat] = Field(default_factory=lambda: [4.0])
    """Coefficients that each level is weighed with, beside each level alone."""


class DecouplingConfig(SectionConfig):
    """Options of the section on decoupling."""

    order: int = Field(40, ge=0, le=100)
    cases: PositiveInt = 24
    """Cases behind the measured means."""
    shown: PositiveInt = 5
    """Cases that are drawn."""
