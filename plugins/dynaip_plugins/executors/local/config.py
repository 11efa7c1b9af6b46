"""Options of the local executor."""

from __future__ import annotations

from pydantic import NonNegativeInt, PositiveInt

from dynaip.config import ComponentConfig


class LocalConfig(ComponentConfig):
    """How many jobs at a time, how many threads each, and which GPUs they share out."""

    jobs: PositiveInt = 2
    """Jobs at a time."""
    threads: PositiveInt | None = 1
    """CPU threads of each job; None leaves the libraries' choice."""
    gpus: list[NonNegativeInt] | None = None
    """GPUs that jobs with ``gpus`` get for themselves; None: all that this process may use."""
