"""Options of the section on granularity."""

from __future__ import annotations

from pydantic import Field, PositiveFloat, PositiveInt

from dynaip_analysis.bench.config import SectionConfig


class GranularityConfig(SectionConfig):
    """Options of the section on granularity."""

    order: int = Field(30, ge=0, le=100)
    cases: PositiveInt = 16
    """Cases behind the measured means."""
    shown: PositiveInt = 3
    """Cases that are drawn."""
    gammas: list[PositiveFloat] = Field(default_factory=lambda: [4.0])
    """Coefficients that each level is weighed with, beside each level alone."""
    curve: list[PositiveFloat] = Field(default_factory=lambda: [0.0625, 0.25, 4.0, 16.0])
    """Coefficients of the curves that `dynaip analyze` draws."""
    probed: PositiveInt = 480
    """Pictures that `dynaip analyze` probes every layer of the encoder with, at most; of `--labelled` whole identities."""
