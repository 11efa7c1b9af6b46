"""The cases of an ablation on disk, for the report and for people: written once, and again where they are damaged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from dynaip.ablation.folder import AblationFolder
from dynaip.ablation.plan import Arm
from dynaip.atomic import write_table
from dynaip.config import EvaluationConfig
from dynaip.config.experiment import fingerprint
from dynaip.contracts import Case
from dynaip.errors import InputError
from dynaip.evaluation.cases import benchmark_cases
from dynaip.evaluation.generation import save_png
from dynaip.notes import tell
from dynaip.reading import check_picture, table


def cases_of(arms: Sequence[Arm]) -> list[Case]:
    """The cases of all arms, each once; an axis may vary the benchmark. What two arms do not mean alike is said."""
    asked: dict[str, Arm] = {}
    for arm in arms:
        asked.setdefault(what_cases_depend_on(arm.config.evaluation), arm)
    found: dict[str, tuple[Case, Arm]] = {}
    for arm in asked.values():
        for case in benchmark_cases(arm.config.evaluation) if arm.config.evaluation else ():
            first, owner = found.setdefault(case.id, (case, arm))
            if first is not case and not _alike(first, case):
                told = (
                    f"{arm.name} paints another case {case.id} than {owner.name}: the report shows that of {owner.name}"
                )
                tell(told, kind=f"cases of {arm.name}")
    return [case for case, _ in found.values()]


def what_cases_depend_on(evaluation: EvaluationConfig | None) -> str:
    """A fingerprint of all that the cases of an evaluation depend on."""
    return fingerprint(
        evaluation and [evaluation.benchmark.dump(), evaluation.suites, evaluation.limit, evaluation.seed]
    )


def _alike(one: Case, other: Case) -> bool:
    """Whether two cases ask for the same of the same references; the size may differ."""
    alike = (one.suite, one.prompt, one.seed) == (other.suite, other.prompt, other.seed)
    shown = [[(each.region, each.subject, each.image.tobytes()) for each in case.references] for case in (one, other)]
    return alike and shown[0] == shown[1]


def write_cases(cases: Sequence[Case], folder: AblationFolder) -> None:
    """Write the cases and their references, as far as they are not there whole; what was damaged is said."""
    fresh = not folder.case_table.exists()
    rows = [_row(case, folder, fresh) for case in cases]
    try:
        if [str(row.get("case")) for row in table(folder.case_table)] == [case.id for case in cases]:
            return
        damage = f"{folder.case_table} lacks cases"
    except InputError as error:
        damage = str(error)
    if not fresh:
        tell(f"{damage}; it is written again")
    write_table(folder.case_table, pd.DataFrame(rows))


def _row(case: Case, folder: AblationFolder, fresh: bool) -> dict[str, Any]:
    entries: list[dict[str, Any]] = []
    for number, reference in enumerate(case.references):
        name = f"{case.id}/ref-{number}.png"
        try:
            check_picture(folder.cases / name)
        except InputError as error:
            if not fresh:
                tell(f"{error}; it is written again", kind="damaged references")
            save_png(reference.image, folder.cases / name)
        entries.append({"image": name, "region": reference.region, "subject": reference.subject})
    return {
        "case": case.id,
        "suite": case.suite,
        "category": case.category,
        "prompt": case.prompt,
        "seed": case.seed,
        "references": json.dumps(entries),
    }
