"""Options of the section on decoupling."""

from __future__ import annotations

from pydantic import Field, PositiveInt

from dynaip_analysis.bench.config import SectionConfig


class DecouplingConfig(SectionConfig):
    """Options of the section on decoupling."""

    order: int = Field(40, ge=0, le=100)
    cases: PositiveInt = 24
    """Cases behind the measured means."""
    shown: PositiveInt = 5
    """Cases that are drawn."""
    probed: PositiveInt = 320
    """Cases whose injected terms `dynaip analyze` probes."""
    probe_steps: PositiveInt = 4
    """Denoising steps of the generations that are probed."""
    checkpoints: PositiveInt = 6
    """Checkpoints of the run that are looked at over training, first and last among them."""
    training_cases: PositiveInt = 16
    """Cases behind the scores at each checkpoint."""
