"""Carries out a job's command on whatever machine it was sent to, and leaves a note of how it is beside its log.

Whoever handed the job over reads the note: it outlives workers, schedulers' memories and the process that asked.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dynaip.atomic import make_folder, write_json
from dynaip.contracts import Job
from dynaip.reading import read_mapping
from dynaip.signals import with_parent

LOOK = 0.1
"""Seconds between two looks at the process."""
GRACE = 60.0
"""Seconds that a process has to save after it was asked to stop."""


@dataclass
class RemoteCommand:
    """A command line with everything that it needs elsewhere; plain data, so that it can be sent."""

    arguments: Sequence[str]
    log: str
    directory: str
    environment: Mapping[str, str]
    note: str
    token: str
    """What the note is of: a note with another token tells of an earlier attempt."""
    requeued: bool = False
    """Whether a scheduler was told to start it again by itself: then its end is not the end."""

    def run(self) -> int:
        """Run it to its end and give the exit code; whatever stops this process asks that one to save first."""
        make_folder(Path(self.log).parent)
        self.tell("running")
        with Path(self.log).open("ab") as log:
            process = subprocess.Popen(
                list(self.arguments), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory,
                env=os.environ | with_parent() | dict(self.environment),
            )  # fmt: skip
        self.process = process
        try:
            while (code := process.poll()) is None:
                time.sleep(LOOK)
            return code
        except BaseException:
            self.end()
            raise
        finally:
            if process.returncode is not None and not self.requeued:
                self.tell(process.returncode)

    def end(self) -> None:
        """Ask the process to save and end; one that does not is killed."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(GRACE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def tell(self, state: str | int) -> None:
        """Write the note."""
        write_json(Path(self.note), {"token": self.token, "state": state, "host": socket.gethostname()}, indent=None)


def command_of(job: Job, token: str) -> RemoteCommand:
    """The command of a job, to be run in this process's folder on another machine."""
    return RemoteCommand(
        job.arguments, str(job.log.absolute()), os.getcwd(), job.environment, str(note_of(job).absolute()), token
    )


def note_of(job: Job) -> Path:
    """Where the note of a job lies."""
    return job.log.with_name(f"{job.log.name}.note.json")


def told(note: Path, token: str) -> str | int | None:
    """What the note of an attempt says: a word, an exit code, or nothing so far."""
    found: Mapping[str, Any] = read_mapping(note)
    state = found.get("state")
    return state if found.get("token") == token and isinstance(state, (str, int)) else None
