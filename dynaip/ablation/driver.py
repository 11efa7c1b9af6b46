"""Drives jobs to their end wherever they run: who is started when, who is started again, and what a signal does.

Executors start jobs and tell how they are; what becomes of an exit code is decided here, the same for all of them.
"""

from __future__ import annotations

import signal
import time
from abc import abstractmethod
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import current_thread, main_thread
from typing import Any, Literal

from dynaip.contracts import Executor, Job
from dynaip.contracts.work import LOST
from dynaip.errors import RESUME_ME, Interrupted

OnChange = Callable[[Job, str], None]
State = int | Literal["waiting", "running"]
"""Of a job that was handed over: it waits for room, runs, or ended with a code (-signal where one ended it)."""


@dataclass(frozen=True)
class Policy:
    """Which jobs are started again.

    One that was asked to stop and saved (75) goes on, since its command line resumes; one whose machine was lost is tried
    again some times; every other code is the job's own word, and final.
    """

    losses: int = 3
    """How often a job may be lost and is started again."""
    quick: float = 5.0
    """Seconds: a job that stops sooner has done nothing."""
    stops: int = 3
    """How often in a row a job may stop that soon."""

    def again(self, past: Sequence[tuple[int, float]]) -> bool:
        """Whether a job with these ends so far (code, seconds), the last one just now, is started again."""
        code = past[-1][0]
        if code == LOST:
            return sum(each == LOST for each, _ in past) <= self.losses
        last = past[-self.stops :]
        idle = len(last) == self.stops and all(each == RESUME_ME and seconds < self.quick for each, seconds in last)
        return code == RESUME_ME and not idle


class DrivenExecutor(Executor):
    """Starts jobs and tells how they are; the loop around it is ``drive``."""

    look: float = 0.1
    """Seconds between two looks at the jobs."""
    outlived: bool = False
    """Whether jobs go on when the process that handed them over is asked to stop."""

    @abstractmethod
    def start(self, jobs: Sequence[Job]) -> Sequence[Job]:
        """Hand over as many jobs as there is room for, the first ones first; give those."""

    @abstractmethod
    def state(self, job: Job) -> State:
        """How a job is that was handed over; after it has ended it may be handed over again."""

    @abstractmethod
    def stop(self, job: Job) -> None:
        """Ask a job to save and end (SIGTERM); one that has not begun never does."""

    def finds(self, job: Job) -> bool:
        """Whether an earlier process handed this job over and it has not been heard of since; then it counts as handed over."""
        return False

    def close(self) -> None:
        """Let go of what jobs ran on."""

    def run(self, jobs: Sequence[Job], *, on_change: OnChange) -> dict[str, int]:
        """Run all jobs once; exit codes by name."""
        return drive(self, jobs, on_change=on_change, policy=Policy(losses=0, stops=1, quick=float("inf")))


@dataclass
class _Driven:
    """What is known of the jobs."""

    waiting: list[Job]
    handed: dict[str, Job] = field(default_factory=dict[str, Job])
    begun: dict[str, float] = field(default_factory=dict[str, float])
    """Name -> when it was seen to run."""
    past: dict[str, list[tuple[int, float]]] = field(default_factory=dict[str, list[tuple[int, float]]])
    codes: dict[str, int] = field(default_factory=dict[str, int])


def drive(
    executor: Executor, jobs: Sequence[Job], *, on_change: OnChange, policy: Policy | None = None
) -> dict[str, int]:
    """Run jobs to their end through an executor and give the last exit code of each by name.

    ``on_change`` hears started, resumed, finished, failed. SIGTERM and Ctrl-C are passed on to the jobs, which save; then
    ``Interrupted`` or ``KeyboardInterrupt`` is raised. An executor with a loop of its own is only told of all jobs at once.
    """
    rule = policy or Policy()
    if not isinstance(executor, DrivenExecutor):
        return _in_rounds(executor, jobs, on_change, rule)
    made = _Driven(list(jobs))
    try:
        with _noted() as asked:
            _loop(executor, made, on_change, rule, asked)
    finally:
        executor.close()
    return {job.name: made.codes[job.name] for job in jobs}


def _loop(
    executor: DrivenExecutor, made: _Driven, on_change: OnChange, rule: Policy, asked: Callable[[], bool]
) -> None:
    for job in [each for each in made.waiting if executor.finds(each)]:
        made.waiting.remove(job)
        made.handed[job.name] = job
    stopped = False
    while made.waiting or made.handed:
        if asked() and not stopped:
            stopped = True
            made.codes |= {job.name: -signal.SIGTERM for job in made.waiting}
            made.waiting.clear()
            if executor.outlived:
                made.codes |= dict.fromkeys(made.handed, RESUME_ME)
                return
            for job in made.handed.values():
                executor.stop(job)
        if made.waiting:
            for job in executor.start(made.waiting):
                made.waiting.remove(job)
                made.handed[job.name] = job
        for job in list(made.handed.values()):
            _look(executor, job, made, on_change, rule if not stopped else None)
        time.sleep(executor.look)


def _look(executor: DrivenExecutor, job: Job, made: _Driven, on_change: OnChange, rule: Policy | None) -> None:
    """See how a job is; one that has ended is done with, or waits again."""
    state, name = executor.state(job), job.name
    if state == "waiting":
        return
    if name not in made.begun:
        made.begun[name] = time.monotonic()
        on_change(job, "resumed" if made.past.get(name) else "started")
    if isinstance(state, str):
        return
    past = made.past.setdefault(name, [])
    past.append((state, time.monotonic() - made.begun.pop(name)))
    del made.handed[name]
    if rule is not None and rule.again(past):
        made.waiting.append(job)
        return
    made.codes[name] = state
    on_change(job, "finished" if state == 0 else "failed")


def _in_rounds(executor: Executor, jobs: Sequence[Job], on_change: OnChange, rule: Policy) -> dict[str, int]:
    codes, past, left = dict[str, int](), dict[str, list[tuple[int, float]]](), list(jobs)
    while left:
        began = time.monotonic()
        codes |= executor.run(left, on_change=on_change)
        for job in left:
            past.setdefault(job.name, []).append((codes[job.name], time.monotonic() - began))
        left = [job for job in left if rule.again(past[job.name])]
    return codes


@contextmanager
def _noted() -> Generator[Callable[[], bool]]:
    """Note SIGTERM and Ctrl-C; on leaving, this process ends as it was asked to."""
    caught: list[int] = []
    if current_thread() is not main_thread():
        yield lambda: False
        return

    def note(number: int, frame: Any) -> None:
        caught.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: bool(caught)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if caught and caught[0] == signal.SIGINT:
        raise KeyboardInterrupt
    if caught:
        raise Interrupted("stopped; what is finished is kept: go on with --resume")
