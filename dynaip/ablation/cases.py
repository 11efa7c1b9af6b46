"""The cases of an ablation on disk, for the report and for people: written once, and again where they are damaged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from dynaip.ablation.folder import AblationFolder
from dynaip.atomic import write_table
from dynaip.contracts import Case
from dynaip.errors import InputError
from dynaip.evaluation.generation import save_png
from dynaip.notes import tell
from dynaip.reading import check_picture, table


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
