"""What an ablation left: ``results.csv``, and how long everything took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from dynaip.ablation.folder import AblationFolder
from dynaip.ablation.plan import Plan
from dynaip.errors import ArmFailed
from dynaip.reading import frame, last_entry, mapping, read_mapping
from dynaip.scores import summary

FIRST = ["arm", "seed", "suite", "n", "cp", "pf", "cp_pf"]
"""Columns that ``results.csv`` begins with."""

KEYS = ["arm", "seed", "suite", "case"]
"""Columns that say what a row of ``AblationResult.scores`` is of."""


@dataclass(frozen=True)
class AblationResult:
    """What an ablation left."""

    directory: Path
    results: pd.DataFrame
    """One row for every arm, seed and suite."""
    failed: Mapping[str, str]
    """Folder of every arm that has no scores, and why."""
    logs: Mapping[str, Path] = field(default_factory=dict[str, Path])
    """Folder of every failed arm that left a log, and where it is."""

    def complaints(self) -> list[str]:
        """A line for every failed arm: its name, why, and where its log is."""
        logs = {name: f" (its log: {path})" for name, path in self.logs.items()}
        return [f"{name}: {why}{logs.get(name, '')}" for name, why in self.failed.items()]

    def check(self) -> None:
        """Raise ``ArmFailed`` if an arm has no scores."""
        if self.failed:
            raise ArmFailed("\n".join(f"arm failed: {line}" for line in self.complaints()))

    def scores(self) -> pd.DataFrame:
        """One row for every arm, training seed and case: ``arm``, ``seed``, ``suite``, ``case``, then the metrics.

        Raises ``ArmFailed`` if an arm has none, since what is compared without it answers another question.
        """
        self.check()
        folder = AblationFolder(self.directory)
        arms = mapping(folder.plan)["arms"]
        tables = [frame(folder.arm(arm["folder"]).scores).assign(arm=arm["name"], seed=arm["seed"]) for arm in arms]
        return pd.concat(tables).set_index(KEYS).reset_index()

    def _repr_html_(self) -> str:
        failed = "".join(f"<p>failed: {escape(line)}</p>" for line in self.complaints())
        return f"{self.results.to_html(index=False, float_format='{:.3f}'.format)}{failed}"


def collect(plan: Plan, folder: AblationFolder) -> pd.DataFrame:
    """``results.csv`` as a table: one row for every arm, seed and suite that has scores."""
    parts: list[pd.DataFrame] = []
    for arm in plan.arms:
        made = folder.arm(arm.folder)
        if made.finished():
            table = summary(frame(made.scores))
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


def failed(plan: Plan, folder: AblationFolder) -> dict[str, str]:
    """Folders of the arms that have no scores, each with the one line that says why."""
    unfinished = [made for arm in plan.arms if not (made := folder.arm(arm.folder)).finished()]
    return {made.path.name: made.error() or f"it is {made.state()}" for made in unfinished}


def logs(plan: Plan, folder: AblationFolder) -> dict[str, Path]:
    """Folders of the arms that have no scores, each with the log of the process that worked at it, where one is."""
    return {
        arm.folder: folder.log(group)
        for group, arms in plan.groups()
        for arm in arms
        if folder.log(group).is_file() and not folder.arm(arm.folder).finished()
    }


def timings(plan: Plan, folder: AblationFolder, seconds: float) -> dict[str, Any]:
    """Seconds of every training and arm, and of everything; ``seconds`` are added to what earlier, broken-off calls took."""
    trained = {each.hash: last_entry(folder.training(each.hash).metrics).get("seconds") for each in plan.trainings}
    evaluated = {arm.folder: read_mapping(folder.arm(arm.folder).status).get("seconds") for arm in plan.arms}
    return {
        "trainings": {name: _seconds(found) for name, found in trained.items()},
        "arms": {name: _seconds(found) for name, found in evaluated.items()},
        "total": round((_seconds(read_mapping(folder.timings).get("total")) or 0.0) + seconds, 1),
    }


def _seconds(found: Any) -> float | None:
    return round(float(found), 1) if isinstance(found, (int, float)) else None
