"""Options of the section on judges."""

from __future__ import annotations

from pydantic import Field, PositiveInt

from dynaip_analysis.bench.config import SectionConfig


class JudgesConfig(SectionConfig):
    """Options of the section on judges."""

    order: int = Field(5, ge=0, le=100)
    cases: PositiveInt = 96
    """Cases that `dynaip analyze` generates and lets every metric of the run judge."""
