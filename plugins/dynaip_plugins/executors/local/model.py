"""Runs jobs as child processes: each writes to its log, none stops another, and all end when this process is told to."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import RLock, current_thread, main_thread
from typing import Any

from dynaip.atomic import make_folder
from dynaip.contracts import Executor, Job
from dynaip.errors import Interrupted
from dynaip.signals import with_parent

from .config import LocalConfig


class LocalExecutor(Executor):
    """Child processes, ``config.jobs`` at a time, in the order given."""

    def __init__(self, config: LocalConfig) -> None:
        self.config = config
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.stopped = False
        self.lock = RLock()  # a signal may come while one is being passed on

    def run(self, jobs: Sequence[Job], *, on_change: Callable[[Job, str], None]) -> dict[str, int]:
        """Run all jobs; exit codes by name (-signal for a job that was killed)."""
        with self._forwarding(), ThreadPoolExecutor(self.config.jobs) as pool:
            codes = list(pool.map(lambda job: self._run(job, on_change), jobs))
        return {job.name: code for job, code in zip(jobs, codes, strict=True)}

    def _run(self, job: Job, on_change: Callable[[Job, str], None]) -> int:
        with self.lock:  # no job may start between a signal and its being passed on
            if self.stopped:
                return -signal.SIGTERM
            make_folder(job.log.parent)
            with job.log.open("ab") as log:
                process = self.running[job.name] = subprocess.Popen(
                    job.arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment()
                )
        on_change(job, "started")
        code = process.wait()
        with self.lock:
            del self.running[job.name]
        on_change(job, "finished" if code == 0 else "failed")
        return code

    def _environment(self) -> dict[str, str]:
        environment = os.environ | with_parent()
        if self.config.threads:
            for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
                environment[name] = str(self.config.threads)
        return environment

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Pass a signal on to every running job; jobs that wait are not started."""
        self.stopped = True
        with self.lock:
            for process in self.running.values():
                process.send_signal(number)

    @contextmanager
    def _forwarding(self) -> Generator[None]:
        """Let SIGTERM and Ctrl-C reach the jobs, so that they save and end, before this process ends as it was asked to."""
        if current_thread() is not main_thread():
            yield
            return
        caught: list[int] = []

        def forward(number: int, frame: Any) -> None:
            caught.append(number)
            self.stop(signal.SIGTERM)

        before = {number: signal.signal(number, forward) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if caught and caught[0] == signal.SIGINT:
            raise KeyboardInterrupt
        if caught:
            raise Interrupted("stopped; what is finished is kept: go on with --resume")
