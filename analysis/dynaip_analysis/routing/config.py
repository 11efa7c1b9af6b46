"""Options of the section on routing."""

from __future__ import annotations

from pydantic import Field, PositiveInt

from dynaip_analysis.bench.config import SectionConfig


class RoutingConfig(SectionConfig):
    """Options of the section on routing."""

    order: int = Field(20, ge=0, le=100)
    cases: PositiveInt = 64
    """References that the averages are over."""
    shown: PositiveInt = 3
    """References whose maps are drawn."""
    prompts: PositiveInt = 8
    """References and prompts that are crossed where the router reads the prompt."""
