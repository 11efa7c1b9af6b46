"""What work is done by: jobs and their executors, and bundles of models. Importing this needs no torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

LOST = 69
"""Code of a job whose machine, worker or allocation is gone, which says nothing of the job itself (EX_UNAVAILABLE)."""


@dataclass(frozen=True)
class Job:
    """One process of an ablation: a command line, where its output goes, and what it is called."""

    name: str
    arguments: tuple[str, ...]
    log: Path
    gpus: int = 0
    """GPUs that it has for itself; 0: what its process happens to see."""
    minutes: int | None = None
    """What a scheduler is asked for; one without time limits has no use for it."""
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    """Variables beside those of the process that runs the ablation."""


class Executor(ABC):
    """Runs jobs, some at a time. Built as ``Executor(config)``.

    One that derives from ``dynaip.ablation.driver.DrivenExecutor`` only starts jobs and tells how they are.
    """

    @abstractmethod
    def run(self, jobs: Sequence[Job], *, on_change: Callable[[Job, str], None]) -> dict[str, int]:
        """Run all jobs to their end and give exit codes by name; ``on_change`` hears started, finished, failed.

        A failed job never stops the others.
        """


class Bundle(ABC):
    """A set of model folders under one name, such as ``microworld``. Built as ``Bundle(config)``."""

    @abstractmethod
    def folder(self, part: str) -> Path:
        """The folder of a part: ``pipeline``, ``vision``, ``oracle`` or ``adapter``; raises ``KeyError`` if it has none."""
