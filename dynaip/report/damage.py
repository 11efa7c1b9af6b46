"""What of an ablation's directory cannot be shown, a line each: nothing leaves the report in silence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dynaip.errors import InputError
from dynaip.reading import mapping, table
from dynaip.report.directory import AblationDirectory, ShownArm
from dynaip.report.sections import STATES


def damage(ablation: AblationDirectory) -> list[str]:
    """Files that are damaged, entries that are left out, and pictures that are missing."""
    files = ablation.files
    named = [arm.folder / file for arm in ablation.arms for file in ("status.json", "config.yaml", "scores.parquet")]
    found = [
        line
        for path in (files.plan, files.timings, files.environment, files.case_table, files.analysis / STATES, *named)
        if (line := _read(path))
    ]
    return [*found, *_left_out(ablation), *(line for arm in ablation.arms for line in _of_arm(arm, ablation))]


def _read(path: Path) -> str:
    try:
        table(path) if path.suffix == ".parquet" else mapping(path)
    except InputError as error:
        return str(error)
    return ""


def _left_out(ablation: AblationDirectory) -> Iterator[str]:
    entries: Any = ablation.plan.get("arms", [])
    count = len(entries) if isinstance(entries, list) else 0
    if not isinstance(entries, list) or count > len(ablation.planned):
        yield f"{ablation.files.plan} lists {count - len(ablation.planned) or 'no'} arms that cannot be read; left out"
    if ablation.case_rows > len(ablation.cases):
        missing = ablation.case_rows - len(ablation.cases)
        yield f"{ablation.files.case_table} holds {missing} cases that cannot be read; left out"


def _of_arm(arm: ShownArm, ablation: AblationDirectory) -> Iterator[str]:
    if arm.state == "finished" and not arm.scores and not _read(arm.folder / "scores.parquet"):
        yield f"{arm.folder / 'scores.parquet'} is missing or lacks its columns"
    if not arm.scores:
        return
    if not arm.samples.is_dir():
        yield f"{arm.samples} is not there: {arm.name} shows no pictures"
        return
    scored = {str(row["case"]) for row in arm.scores}
    missing = [case.id for case in ablation.cases if case.id in scored and arm.image(case) is None]
    if missing:
        yield f"{arm.samples} lacks {len(missing)} of {len(scored)} pictures, {missing[0]} for one"
