"""Carries out the plan of an ablation: trainings and evaluations as jobs, then their results."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dynaip.ablation.cases import cases_of
from dynaip.ablation.driver import drive
from dynaip.ablation.folder import FAILED, FINISHED, AblationFolder
from dynaip.ablation.plan import BASE, Arm, Plan, make_plan
from dynaip.ablation.prepare import prepare
from dynaip.ablation.results import AblationResult, collect, failed, logs, timings
from dynaip.ablation.worker import work
from dynaip.atomic import write_json, write_text
from dynaip.config import AblationConfig, ComponentSpec, load_saved
from dynaip.contracts import Executor, Job
from dynaip.contracts.work import LOST
from dynaip.errors import RESUME_ME, Interrupted
from dynaip.models import resolve
from dynaip.notes import gathered
from dynaip.reading import last_line
from dynaip.registry import registry
from dynaip.runs import Run
from dynaip.scores import to_csv
from dynaip.signals import ended_by

OnChange = Callable[[str, str], None]
"""Hears the name of a group of work and what happened to it: started, finished, failed, or done for what is skipped."""


def ablate(
    config: AblationConfig,
    out: Path,
    *,
    executor: str | Mapping[str, Any] | None = None,
    limit: int | None = None,
    on_change: OnChange = lambda name, what: None,
) -> AblationResult:
    """Carry out an ablation in ``out``, going on with whatever is finished there already.

    Arms that use a component of this notebook run in this process, all others through the executor. Raises ``InputError`` if
    ``out`` holds another ablation; a failed arm is in ``failed`` and does not stop the others.
    """
    plan, started = make_plan(config, limit=limit), time.monotonic()
    _check_baselines(plan)
    cases = cases_of(plan.arms)
    runner = _executor(plan, executor)
    folder = AblationFolder(Path(out))
    with Run(folder.path).locked():
        with gathered():
            prepare(plan, cases, folder)
        _run_groups(plan, folder, runner, on_change)
        shutil.rmtree(folder.encodings, ignore_errors=True)
        results = collect(plan, folder)
        write_text(folder.results, to_csv(results))
        write_json(folder.timings, timings(plan, folder, time.monotonic() - started), indent=1)
    return AblationResult(folder.path, results, failed(plan, folder), logs(plan, folder))


def _check_baselines(plan: Plan) -> None:
    """Refuse a misspelt RUN, or one whose config is not to be trusted, before anything is trained.

    A bundle or hub id that lacks an adapter fails as an arm.
    """
    bundles = {entry.component.name for entry in registry().components("bundle")}
    for arm in plan.arms:
        if arm.run not in (None, BASE) and arm.run not in bundles:
            run = resolve(arm.run, "adapter")
            if isinstance(run, Path) and (run / "config.yaml").is_file():
                load_saved(run / "config.yaml")


def _executor(plan: Plan, given: str | Mapping[str, Any] | None) -> Executor:
    """Build the executor; ``jobs`` and ``threads`` of the ablation are the local one's."""
    if given in (None, "local"):
        return local_executor(plan.jobs, plan.threads)
    return registry().build(ComponentSpec.parse("executor", given, "executor"))


def local_executor(jobs: int, threads: int | None) -> Executor:
    """Build the executor of this machine; ``threads`` are those of each job, None shares the cores out."""
    options = {"use": "local", "jobs": jobs, "threads": threads or max(1, (os.cpu_count() or 1) // jobs)}
    return registry().build(ComponentSpec.parse("executor", options, "executor"))


def _run_groups(plan: Plan, folder: AblationFolder, runner: Executor, on_change: OnChange) -> None:
    """Run what is missing: live components in this process, everything else as jobs."""
    pending: list[tuple[str, list[Arm]]] = []
    for name, arms in plan.groups():
        if all(folder.arm(arm.folder).finished() for arm in arms):
            on_change(name, "done")
        else:
            pending.append((name, arms))
    jobs = [(name, arms) for name, arms in pending if not _live(arms)]
    if jobs:
        _run_jobs(plan, folder, jobs, runner, on_change)
    for name, arms in pending:
        if _live(arms):
            on_change(name, "started")
            code = work(folder.path, name)
            on_change(name, "finished" if code == 0 else "failed")
            if code == RESUME_ME:
                raise Interrupted("stopped; what is finished is kept: go on with --resume")


def _live(arms: Sequence[Arm]) -> bool:
    """Whether an arm uses a component that only this process knows."""
    return any(not registry().find(spec.kind, spec.use).importable for arm in arms for spec in arm.config.specs())


def _run_jobs(
    plan: Plan, folder: AblationFolder, groups: Sequence[tuple[str, list[Arm]]], runner: Executor, on_change: OnChange
) -> None:
    # The longest first, so that no long job is left alone at the end; baselines, one arm each, stay behind the trainings.
    ordered = sorted(groups, key=lambda group: -len(group[1]))
    # A job may run in another folder on another machine.
    command = (sys.executable, "-m", "dynaip.ablation", str(folder.path.absolute()))
    threads = {"OMP_NUM_THREADS": str(plan.threads)} if plan.threads else {}
    jobs = [Job(name, (*command, name), folder.log(name), plan.gpus, plan.minutes, threads) for name, _ in ordered]
    codes = drive(runner, jobs, on_change=lambda job, what: on_change(job.name, what))
    for job in jobs:
        if codes[job.name] not in (0, RESUME_ME):
            why = why_crashed(codes[job.name], job.log)
            for made in (folder.arm(arm.folder) for arm in dict(groups)[job.name]):
                if made.state() not in (FINISHED, FAILED):
                    made.mark(FAILED, error=why)


def why_crashed(code: int, log: Path) -> str:
    """Say why a worker ended before it could say so itself: the signal, and the last line of its log."""
    name, last = ended_by(code), last_line(log)
    if code == LOST:
        return "the machine or worker that it ran on was lost, again and again: --resume goes on"
    if name is None:
        return last or f"the process ended with exit code {code} and without a word"
    hint = ", as the system does when memory runs out" if name == "SIGKILL" else ""
    return f"the process was killed by {name}{hint}" + (f"; the last line of its log: {last}" if last else "")
