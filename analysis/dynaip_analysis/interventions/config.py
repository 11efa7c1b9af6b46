"""Options of the section on interventions."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, PositiveInt

from dynaip_analysis.bench.config import SectionConfig


class InterventionsConfig(SectionConfig):
    """Options of the section on interventions."""

    order: int = Field(45, ge=0, le=100)
    in_report: bool = False
    """Whether an ablation's report has it: a sweep generates every case a few dozen times."""
    cases: PositiveInt = 8
    """Cases behind the measured means."""
    kind: Literal["drop", "scale", "swap"] = "drop"
    """What is done to the reference term; a swap takes the reference of the next case."""
    factor: float = Field(0.5, ge=0)
    """What `scale` multiplies the term with."""
    windows: PositiveInt = 3
    """Parts that the denoising steps are split into."""
    branches: list[Literal["image", "text"]] = Field(default_factory=list)
    """Branches that are changed; empty for all that are open."""
    decoupling: str | dict[str, Any] | None = None
    """Policy at inference, by its name or with options; None for the adapter's own."""
