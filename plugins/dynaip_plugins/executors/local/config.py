"""Options of the local executor."""

from __future__ import annotations

from pydantic import PositiveInt

from dynaip.config import ComponentConfig


class LocalConfig(ComponentConfig):
    """How many jobs at a time, and how many threads each."""

    jobs: PositiveInt = 2
    """Jobs at a time."""
    threads: PositiveInt | None = 1
    """CPU threads of each job; None leaves the libraries' choice."""
