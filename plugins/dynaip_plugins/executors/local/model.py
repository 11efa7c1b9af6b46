"""Runs jobs as child processes: each writes to its log, none stops another, and all end when this process is told to."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from dynaip.ablation.driver import DrivenExecutor, State
from dynaip.atomic import make_folder
from dynaip.contracts import Job
from dynaip.errors import InputError
from dynaip.signals import with_parent

from .config import LocalConfig

VISIBLE = "CUDA_VISIBLE_DEVICES"


class LocalExecutor(DrivenExecutor):
    """Child processes, ``config.jobs`` at a time, in the order given; GPUs are given out to the jobs that ask for some."""

    def __init__(self, config: LocalConfig) -> None:
        self.config = config
        self.gpus = visible_gpus() if config.gpus is None else list(map(str, config.gpus))
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.held: dict[str, list[str]] = {}
        """Name of a job -> GPUs that are its own."""

    def start(self, jobs: Sequence[Job]) -> list[Job]:
        """Start jobs in order, as long as there are processes and GPUs for them."""
        greedy = max(jobs, key=lambda job: job.gpus)
        if greedy.gpus > len(self.gpus):
            raise InputError(
                f"{greedy.name} wants {greedy.gpus} GPUs, and there are {len(self.gpus)} here: lower gpus, or name those "
                "there are (gpus of the executor)"
            )
        started: list[Job] = []
        for job in jobs:
            free = [gpu for gpu in self.gpus if not any(gpu in held for held in self.held.values())]
            if len(self.running) >= self.config.jobs or job.gpus > len(free):
                break
            self._start(job, free[: job.gpus])
            started.append(job)
        return started

    def _start(self, job: Job, gpus: list[str]) -> None:
        make_folder(job.log.parent)
        with job.log.open("ab") as log:
            self.running[job.name] = subprocess.Popen(
                job.arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment(job, gpus)
            )
        self.held[job.name] = gpus

    def _environment(self, job: Job, gpus: list[str]) -> dict[str, str]:
        environment = os.environ | with_parent()
        if self.config.threads:
            for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
                environment[name] = str(self.config.threads)
        environment |= job.environment
        return environment | ({VISIBLE: ",".join(gpus)} if gpus else {})

    def state(self, job: Job) -> State:
        """Whether the process runs, or its exit code."""
        code = self.running[job.name].poll()
        if code is None:
            return "running"
        del self.running[job.name], self.held[job.name]
        return code

    def stop(self, job: Job) -> None:
        """Pass SIGTERM on."""
        self.running[job.name].send_signal(signal.SIGTERM)


def visible_gpus() -> list[str]:
    """GPUs that this process may use, as CUDA names them; torch is not asked, since that takes seconds."""
    named = os.environ.get(VISIBLE)
    if named is not None:
        return [each.strip() for each in named.split(",") if each.strip() not in ("", "-1")]
    return [str(number) for number in range(len(list(Path("/dev").glob("nvidia[0-9]*"))))]
