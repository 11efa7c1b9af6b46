"""What a SLURM job runs: a command that saves and is requeued when its time is over."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

from dynaip.errors import RESUME_ME
from dynaip_plugins.shared.commands import RemoteCommand


@dataclass
class Task:
    """A command as submitit calls it."""

    command: RemoteCommand

    def __call__(self) -> int:
        try:
            return self.command.run()
        except Exception:
            if self.command.requeued:  # the scheduler refused: whoever watches hands it over again
                self.command.tell(RESUME_ME)
            raise

    def checkpoint(self) -> Any:
        """Called when the time limit or a preemption comes near: let the process save, and go on as a job of the same array."""
        again = Task(replace(self.command))
        self.command.requeued = True
        self.command.end()
        self.command.tell("waiting")
        return import_module("submitit.helpers").DelayedSubmission(again)
