"""Carries out the plan of an ablation: trainings and evaluations as jobs, then results, sections and the report."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, cast

import pandas as pd
import yaml

from dynaip.ablation.plan import BASE, Arm, Plan, make_plan
from dynaip.ablation.worker import GROUPS, SCORES, finished, set_state, state, work
from dynaip.atomic import write_text
from dynaip.config import AblationConfig, ComponentSpec
from dynaip.contracts import Case, Executor, Job
from dynaip.errors import RESUME_ME, InputError
from dynaip.evaluation.generation import save_png
from dynaip.evaluation.scoring import benchmark_cases
from dynaip.models import resolve
from dynaip.registry import registry
from dynaip.runs import Run, environment
from dynaip.scores import summary

FIRST = ["arm", "seed", "suite", "n", "cp", "pf", "cp_pf"]
"""Columns that ``results.csv`` begins with."""

OnChange = Callable[[str, str], None]
"""Hears the name of a group of work and what happened to it: started, finished, failed, or done for what is skipped."""


@dataclass(frozen=True)
class AblationResult:
    """What an ablation left."""

    directory: Path
    results: pd.DataFrame
    """One row for every arm, seed and suite."""
    failed: tuple[str, ...]
    """Names of the arms that have no scores."""
    report: Path

    def _repr_html_(self) -> str:
        failed = f"<p>failed: {escape(', '.join(self.failed))}</p>" if self.failed else ""
        return f"{self.results.to_html(index=False, float_format='{:.3f}'.format)}{failed}"


def ablate(
    config: AblationConfig,
    out: Path,
    *,
    executor: str | Mapping[str, Any] | None = None,
    limit: int | None = None,
    on_change: OnChange | None = None,
    report: bool = True,
) -> AblationResult:
    """Carry out an ablation in ``out``, going on with whatever is finished there already.

    Arms that use a component of this notebook run in this process, all others through the executor. Raises ``InputError`` if
    ``out`` holds another ablation; a failed arm is in ``failed`` and does not stop the others.
    """
    plan = make_plan(config, limit=limit)
    _check_baselines(plan)
    cases = _cases(plan)
    runner = _executor(plan, executor)
    out = Path(out)
    started = time.monotonic()
    with Run(out).locked():
        _prepare(plan, cases, out)
        _run_groups(plan, out, runner, on_change or (lambda name, what: None))
        results = collect(plan, out)
        write_text(out / "results.csv", results.to_csv(index=False))
        page = _report(plan, out, started) if report else out / "report.html"
    failed = tuple(arm.folder for arm in plan.arms if not finished(out / "arms" / arm.folder))
    return AblationResult(out, results, failed, page)


def _check_baselines(plan: Plan) -> None:
    """Refuse a misspelt RUN before anything is trained; a bundle or hub id that lacks an adapter fails as an arm."""
    bundles = {entry.component.name for entry in registry().components("bundle")}
    for arm in plan.arms:
        if arm.run not in (None, BASE) and arm.run not in bundles:
            resolve(arm.run, "adapter")


def _executor(plan: Plan, given: str | Mapping[str, Any] | None) -> Executor:
    """Build the executor; ``jobs`` and ``threads`` of the ablation are the local one's."""
    threads = plan.threads or max(1, (os.cpu_count() or 1) // plan.jobs)
    local = {"use": "local", "jobs": plan.jobs, "threads": threads}
    return registry().build(ComponentSpec.parse("executor", local if given in (None, "local") else given, "executor"))


def _cases(plan: Plan) -> list[Case]:
    """The cases of all arms; ``InputError`` for a suite that the benchmark does not have."""
    evaluation = plan.arms[0].config.evaluation
    return benchmark_cases(evaluation) if evaluation else []


def _prepare(plan: Plan, cases: Sequence[Case], out: Path) -> None:
    """Write the plan and everything that workers read; ``InputError`` if the folder holds another plan."""
    _check(plan, out)
    for name in ("arms", "trainings", GROUPS, "logs"):
        (out / name).mkdir(parents=True, exist_ok=True)
    plan.write(out / "plan.yaml")
    write_text(out / "environment.json", json.dumps(environment(), indent=2) + "\n")
    for training in plan.trainings:
        write_text(out / "trainings" / f"{training.hash}.yaml", training.config.to_yaml())
    for arm in plan.arms:
        (out / "arms" / arm.folder).mkdir(exist_ok=True)
        write_text(out / "arms" / arm.folder / "config.yaml", arm.config.to_yaml())
    steps = {training.hash: training.config.training.steps for training in plan.trainings}
    for name, arms in plan.groups():
        entries = [{"name": arm.name, "folder": arm.folder, "run": arm.run} for arm in arms]
        training = name if name in steps else None
        files = [str(file) for file in registry().files]
        task = {
            "training": training,
            "steps": steps.get(name),
            "arms": entries,
            "threads": plan.threads,
            "plugins": files,
        }
        write_text(out / GROUPS / f"{name}.json", json.dumps(task, indent=1))
    _write_cases(cases, out / "cases")


def _check(plan: Plan, out: Path) -> None:
    file = out / "plan.yaml"
    if not file.exists():
        others = [entry.name for entry in out.iterdir() if not entry.name.startswith(".")]
        if others:
            raise InputError(f"{out} is not empty and holds no ablation: choose another folder with -o")
        return
    try:
        before: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
        old, new = ({each["folder"]: each for each in some["arms"]} for some in (before, plan.resolved()))
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, KeyError) as error:
        if {folder.name for folder in (out / "arms").glob("*")} == {arm.folder for arm in plan.arms}:
            return  # the folders' names hold the hashes of the arms: the plan is written again
        raise InputError(f"{file} is damaged, and other arms lie beside it: choose another folder with -o") from error
    if set(old) != set(new):
        raise InputError(
            f"{out} holds another ablation ({_difference(plan, out, old, new)}): choose another folder with -o"
        )


def _difference(plan: Plan, out: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Name what changed: an option of an arm that both have, or else the arms that only one of them has."""
    for arm in plan.arms:
        twins = [folder for folder, each in old.items() if (each["name"], each["seed"]) == (arm.name, arm.seed)]
        file = out / "arms" / twins[0] / "config.yaml" if twins else None
        if file and arm.folder not in old and file.is_file():
            paths = list(changes(yaml.safe_load(file.read_text(encoding="utf-8")), arm.config.resolved()))
            if paths:
                return f"arm {arm.name} differs in {', '.join(paths[:3])}"
    changed = sorted({some[folder]["name"] for some in (old, new) for folder in set(old) ^ set(new) if folder in some})
    return f"arms that differ: {', '.join(changed)}"


def changes(before: Any, now: Any, path: str = "") -> Iterator[str]:
    """Dotted paths at which two configs differ, with both values."""
    if isinstance(before, dict) and isinstance(now, dict):
        one, other = cast("dict[str, Any]", before), cast("dict[str, Any]", now)
        for key in {**one, **other}:
            yield from changes(one.get(key), other.get(key), f"{path}.{key}" if path else key)
    elif before != now:
        yield f"{path} ({before} there, {now} here)"


def _write_cases(cases: Sequence[Case], folder: Path) -> None:
    """Write the cases and their references once, for the report and for people."""
    if not cases or (folder / "cases.parquet").exists():
        return
    rows = [_case_row(case, folder) for case in cases]
    pd.DataFrame(rows).to_parquet(folder / "cases.parquet", index=False)


def _case_row(case: Case, folder: Path) -> dict[str, Any]:
    entries: list[dict[str, Any]] = []
    for number, reference in enumerate(case.references):
        name = f"{case.id}/ref-{number}.png"
        save_png(reference.image, folder / name)
        entries.append({"image": name, "region": reference.region, "subject": reference.subject})
    return {
        "case": case.id,
        "suite": case.suite,
        "prompt": case.prompt,
        "seed": case.seed,
        "references": json.dumps(entries),
    }


def _run_groups(plan: Plan, out: Path, runner: Executor, on_change: OnChange) -> None:
    """Run what is missing: live components in this process, everything else as jobs."""
    pending: list[tuple[str, list[Arm]]] = []
    for name, arms in plan.groups():
        if all(finished(out / "arms" / arm.folder) for arm in arms):
            on_change(name, "done")
        else:
            pending.append((name, arms))
    jobs = [(name, arms) for name, arms in pending if not _live(arms)]
    if jobs:
        _run_jobs(out, jobs, runner, on_change)
    for name, arms in pending:
        if _live(arms):
            on_change(name, "started")
            on_change(name, "finished" if work(out, name) == 0 else "failed")


def _run_jobs(out: Path, groups: Sequence[tuple[str, list[Arm]]], runner: Executor, on_change: OnChange) -> None:
    # The longest first, so that no long job is left alone at the end; baselines, one arm each, stay behind the trainings.
    ordered = sorted(groups, key=lambda group: -len(group[1]))
    jobs = [
        Job(name, (sys.executable, "-m", "dynaip.ablation.worker", str(out), name), out / "logs" / f"{name}.txt")
        for name, _ in ordered
    ]
    codes = runner.run(jobs, on_change=lambda job, what: on_change(job.name, what))
    for job in jobs:
        if codes[job.name] not in (0, RESUME_ME):
            _mark_crashed(out, dict(groups)[job.name], job.log)


def _mark_crashed(out: Path, arms: Sequence[Arm], log: Path) -> None:
    """A worker that died without a word leaves its arms running: note the last line of its log."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.exists() else []
    for arm in arms:
        folder = out / "arms" / arm.folder
        if state(folder) not in ("finished", "failed"):
            set_state(folder, "failed", error=lines[-1].strip() if lines else "the process ended without a word")


def _live(arms: Sequence[Arm]) -> bool:
    """Whether an arm uses a component that only this process knows."""
    return any(not registry().find(spec.kind, spec.use).importable for arm in arms for spec in arm.config.specs())


def collect(plan: Plan, out: Path) -> pd.DataFrame:
    """``results.csv`` as a table: one row for every arm, seed and suite that has scores."""
    parts: list[pd.DataFrame] = []
    for arm in plan.arms:
        folder = out / "arms" / arm.folder
        if finished(folder):
            table = summary(pd.read_parquet(folder / SCORES))
            table.insert(0, "arm", arm.name)
            table.insert(1, "seed", arm.seed)
            parts.append(table)
    if not parts:
        return pd.DataFrame(columns=FIRST)
    joined = pd.concat(parts, ignore_index=True)
    columns = [str(name) for name in joined.columns]
    return joined.reindex(
        columns=[name for name in FIRST if name in columns] + [name for name in columns if name not in FIRST]
    )


def _report(plan: Plan, out: Path, started: float) -> Path:
    from dynaip.report.build import build_report
    from dynaip.report.sections import prepare_sections

    before = time.monotonic()
    if any(finished(out / "arms" / arm.folder) for arm in plan.arms):
        prepare_sections(out)
    timings = {
        "trainings": {training.hash: _training_seconds(out, training.hash) for training in plan.trainings},
        "arms": {arm.folder: _arm_seconds(out, arm) for arm in plan.arms},
        "analyses": round(time.monotonic() - before, 1),
        "total": round(_earlier(out) + time.monotonic() - started, 1),
    }
    write_text(out / "timings.json", json.dumps(timings, indent=1) + "\n")
    return build_report(out)


def _earlier(out: Path) -> float:
    """Seconds that earlier, broken-off calls of a finished ablation took, as far as they were written down."""
    try:
        return float(json.loads((out / "timings.json").read_text(encoding="utf-8"))["total"])
    except (OSError, ValueError, KeyError):
        return 0.0


def _training_seconds(out: Path, name: str) -> float | None:
    file = Run(out / "trainings" / name).metrics
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return round(float(json.loads(lines[-1])["seconds"]), 1) if lines else None


def _arm_seconds(out: Path, arm: Arm) -> float | None:
    try:
        found = json.loads((out / "arms" / arm.folder / "status.json").read_text(encoding="utf-8")).get("seconds")
    except (OSError, ValueError):
        return None
    return None if found is None else float(found)
