"""Runs jobs as plain Ray tasks around their command lines: Ray finds the machine and the GPUs, the job is the same process."""

from __future__ import annotations

import logging
import os
import signal
import time
import traceback
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib import import_module
from math import ceil
from typing import Any
from uuid import uuid4

import psutil

from dynaip.ablation.driver import DrivenExecutor, State
from dynaip.atomic import make_folder
from dynaip.contracts import Job
from dynaip.contracts.work import LOST
from dynaip.errors import DynaIPError
from dynaip.notes import tell
from dynaip.suggest import one_line
from dynaip_plugins.shared.commands import RemoteCommand, command_of, note_of, told

from .config import RayConfig

TIMED_OUT = 20.0
"""Seconds: an attempt to start Ray that failed sooner had another reason than a busy machine."""


def children() -> set[psutil.Process]:
    """Processes that this one started, and theirs."""
    return {*psutil.Process().children(recursive=True)}


def end(processes: Iterable[psutil.Process]) -> None:
    """What a start that failed leaves behind would take its time from the next one."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def carry_out(command: RemoteCommand) -> int:
    """What a task does."""
    return command.run()


class RayExecutor(DrivenExecutor):
    """Tasks with the CPUs of the config and the GPUs of the job. Jobs end with the process that handed them over."""

    def __init__(self, config: RayConfig) -> None:
        self.config = config
        self.tasks: dict[str, tuple[Any, str]] = {}
        """Name of a job -> its task, and the token of its note."""
        self.begun = False

    def _ray(self) -> Any:
        # Nothing is told to anybody, and jobs are no less urgent than elsewhere (Ray's workers are niced).
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_worker_niceness", "0")
        ray: Any = import_module("ray")
        if not ray.is_initialized():
            self._begin(ray)
            self.begun = True
        return ray

    def _begin(self, ray: Any) -> None:
        """Find the cluster; or start one on this machine, as often as Ray's own patience is too short while ours lasts."""
        began = time.monotonic()
        while True:
            tried, others = time.monotonic(), children()
            try:
                return self._attempt(ray)
            except Exception as error:  # a bare one where Ray does not start in time
                ray.shutdown()
                end(children() - others)
                now = time.monotonic()
                if reason := self._final(one_line(error), tries=now - tried, waited=now - began):
                    raise DynaIPError(reason) from error
                patience = self.config.start_seconds
                tell(f"Ray did not start within {now - began:.0f} s and is started again, for up to {patience:.0f} s")

    def _attempt(self, ray: Any) -> None:
        local, patience = self.config.address == "local", str(ceil(self.config.start_seconds))
        offers = {"num_cpus": self.config.machine_cpus, "num_gpus": self.config.machine_gpus} if local else {}
        if local:
            os.environ.setdefault("RAY_gcs_server_port_wait_time_s", patience)
        ray.init(
            self.config.address, include_dashboard=False if local else None, log_to_driver=False,
            logging_level=logging.ERROR, **offers,
        )  # fmt: skip

    def _final(self, said: str, *, tries: float, waited: float) -> str | None:
        """Why Ray is not tried again after it said that, in an attempt of so many seconds; None if it is."""
        if self.config.address != "local":
            return f"executor.address {self.config.address}: no Ray cluster there ({said})"
        if tries < TIMED_OUT:
            return f"executor ray: Ray does not start on this machine ({said})"
        if waited < self.config.start_seconds:
            return None
        return (
            f"executor.start_seconds: Ray did not start on this machine within {waited:.0f} s ({said}): raise it, try again "
            "when the machine is less busy, or take --executor local"
        )

    def start(self, jobs: Sequence[Job]) -> list[Job]:
        """Hand tasks over; Ray lets them wait for CPUs and GPUs."""
        ray, limit = self._ray(), self.config.jobs
        chosen = list(jobs if limit is None else jobs[: max(0, limit - len(self.tasks))])
        for job in chosen:
            make_folder(job.log.parent)
            token = uuid4().hex
            task = ray.remote(carry_out).options(
                num_cpus=self.config.cpus, num_gpus=job.gpus, max_retries=0, name=job.name
            )
            self.tasks[job.name] = (task.remote(command_of(job, token)), token)
        return chosen

    def state(self, job: Job) -> State:
        """What Ray says of the task, and the note of where it is."""
        ray, (task, token) = self._ray(), self.tasks[job.name]
        if not ray.wait([task], timeout=0)[0]:
            return "waiting" if told(note_of(job), token) is None else "running"
        del self.tasks[job.name]
        try:
            return int(ray.get(task))
        except (ray.exceptions.TaskCancelledError, ray.exceptions.RayTaskError) as error:
            return self._cut_off(job, token, error, cancelled=isinstance(error, ray.exceptions.TaskCancelledError))
        except ray.exceptions.RayError:  # its worker, its machine, or what it was made of is gone
            return LOST

    def _cut_off(self, job: Job, token: str, error: Exception, *, cancelled: bool) -> int:
        noted = told(note_of(job), token)
        if isinstance(noted, int):
            return noted
        if cancelled:
            return -signal.SIGTERM
        with job.log.open("a", encoding="utf-8") as log:
            log.write("".join(traceback.format_exception_only(error)))
        return 1

    def stop(self, job: Job) -> None:
        """Cancel the task: it asks the process to save and waits for it."""
        self._ray().cancel(self.tasks[job.name][0], force=False)

    def close(self) -> None:
        """End Ray where it was started for this."""
        if self.begun:
            self._ray().shutdown()
            self.begun = False
