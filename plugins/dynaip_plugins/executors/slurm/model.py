"""Hands jobs to SLURM as one array through submitit; how they are is read from their notes and from ``squeue``.

Jobs go on when the process that handed them over ends. A record beside each job's log says which job of the scheduler it is,
so that the next process finds those that still wait or run.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from importlib import import_module
from itertools import groupby
from pathlib import Path
from typing import Any
from uuid import uuid4

from dynaip.ablation.driver import DrivenExecutor, State
from dynaip.atomic import make_folder, write_json
from dynaip.contracts import Job
from dynaip.contracts.work import LOST
from dynaip.errors import DynaIPError, InputError
from dynaip.reading import read_mapping
from dynaip_plugins.shared.commands import command_of, note_of, told

from .config import SlurmConfig
from .task import Task

RUNS = frozenset({"RUNNING", "COMPLETING", "STAGE_OUT", "SIGNALING", "STOPPED"})
TOOLS = ("sbatch", "squeue", "scancel", "srun")


class SlurmExecutor(DrivenExecutor):
    """Array jobs, ``config.jobs`` of them at a time."""

    def __init__(self, config: SlurmConfig) -> None:
        self.config = config
        self.look = min(1.0, config.look)
        self.outlived = not config.cancel
        self.records: dict[str, tuple[str, str]] = {}
        """Name of a job -> the scheduler's id, and the token of its note."""
        self.missing: dict[str, float] = {}
        """Id -> since when the queue does not know it."""
        self.cancelled: set[str] = set()
        self.queue: dict[str, str] = {}
        self.asked = float("-inf")

    def start(self, jobs: Sequence[Job]) -> list[Job]:
        """Submit all jobs; those that ask for the same make one array. SLURM lets them wait for room."""
        lacking = [name for name in TOOLS if shutil.which(name) is None]
        if lacking:
            raise InputError(
                f"executor slurm: {', '.join(lacking)} not found: run this on a machine that submits to SLURM"
            )
        wants = sorted(jobs, key=_wanted)
        for _, same in groupby(wants, key=_wanted):
            self._submit(list(same))
        self.asked = float("-inf")
        return list(jobs)

    def _submit(self, jobs: list[Job]) -> None:
        executor, made = self._submitit(jobs[0]), list[Any]()
        tokens = [uuid4().hex for _ in jobs]
        for job in jobs:
            note_of(job).unlink(missing_ok=True)
        try:
            with executor.batch():
                for job, token in zip(jobs, tokens, strict=True):
                    made.append(executor.submit(Task(command_of(job, token))))
        except Exception as error:  # submitit raises an error of its own for what sbatch says
            said = " ".join(str(error).split())
            raise DynaIPError(f"SLURM does not take the jobs: {said}") from error
        for job, token, handle in zip(jobs, tokens, made, strict=True):
            self.records[job.name] = (handle.job_id, token)
            write_json(_record(job), {"job": handle.job_id, "token": token}, indent=None)

    def _submitit(self, job: Job) -> Any:
        submitit: Any = import_module("submitit")
        config, folder = self.config, job.log.parent.absolute() / "slurm"
        make_folder(folder)
        executor = submitit.AutoExecutor(folder, cluster="slurm", slurm_max_num_timeout=10_000)
        asked = {name: getattr(config, name) for name in ("partition", "account", "qos", "constraint")}
        asked |= {"mem": config.memory, "setup": config.setup or None, "additional_parameters": config.options or None}
        executor.update_parameters(
            name="dynaip", timeout_min=job.minutes or config.minutes, cpus_per_task=config.cpus,
            slurm_array_parallelism=config.jobs, slurm_signal_delay_s=config.notice,
            **({"gpus_per_node": job.gpus} if job.gpus else {}),
            **{f"slurm_{name}": value for name, value in asked.items() if value is not None},
        )  # fmt: skip
        return executor

    def finds(self, job: Job) -> bool:
        """Whether the queue still holds what an earlier process submitted for this job, or it went well since."""
        record = read_mapping(_record(job))
        number, token = record.get("job"), record.get("token")
        if not (isinstance(number, str) and isinstance(token, str)):
            return False
        self._ask()
        noted = told(note_of(job), token)
        if noted != 0 and (number not in self.queue or isinstance(noted, int)):
            return False
        self.records[job.name] = (number, token)
        return True

    def state(self, job: Job) -> State:
        """The exit code that the job's note tells, or what the queue says."""
        number, token = self.records[job.name]
        noted = told(note_of(job), token)
        if isinstance(noted, int):
            _record(job).unlink(missing_ok=True)  # it has been heard of
            return noted
        self._ask()
        if number in self.queue:
            self.missing.pop(number, None)
            return "running" if self.queue[number] in RUNS else "waiting"
        if number in self.cancelled and noted != "running":
            return -signal.SIGTERM
        since = self.missing.setdefault(number, time.monotonic())
        if time.monotonic() - since > self.config.grace:
            return LOST
        return "waiting" if noted != "running" else "running"

    def _ask(self) -> None:
        """Ask the queue for all jobs at once, not more often than the config allows; while it does not answer, all stays."""
        if time.monotonic() - self.asked < self.config.look:
            return
        self.asked = time.monotonic()
        command = ["squeue", "--me", "--noheader", "--array", "--format", "%i|%T"]
        try:
            answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
        except (OSError, subprocess.SubprocessError):
            return
        self.queue = dict(line.strip().split("|", 1) for line in answer.splitlines() if "|" in line)

    def stop(self, job: Job) -> None:
        """Ask a job that runs to save, and take one that waits out of the queue."""
        number, token = self.records[job.name]
        self.cancelled.add(number)
        runs = told(note_of(job), token) == "running"
        subprocess.run(["scancel", *(["--signal=TERM"] if runs else []), number], capture_output=True, check=False)
        self.asked = float("-inf")


def _wanted(job: Job) -> tuple[int, int]:
    return job.gpus, job.minutes or 0


def _record(job: Job) -> Path:
    return job.log.with_name(f"{job.log.name}.slurm.json")
