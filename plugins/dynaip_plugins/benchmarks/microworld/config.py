"""Options of microworld's benchmark."""

from __future__ import annotations

from pydantic import PositiveInt

from dynaip.config import ComponentConfig


class MicroworldBenchmarkConfig(ComponentConfig):
    """Cases of each suite."""

    single: PositiveInt = 256
    """Cases with one subject."""
    multi2: PositiveInt = 128
    """Cases with two subjects, each with its region."""
    multi3: PositiveInt = 96
    """Cases with three subjects."""
    multi4: PositiveInt = 96
    """Cases with four subjects."""
