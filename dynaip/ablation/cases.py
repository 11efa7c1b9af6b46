"""The cases of an ablation on disk, written once, for the report and for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from dynaip.ablation.folder import AblationFolder
from dynaip.atomic import write_table
from dynaip.contracts import Case
from dynaip.evaluation.generation import save_png


def write_cases(cases: Sequence[Case], folder: AblationFolder) -> None:
    """Write the cases and their references, unless they are there."""
    if cases and not folder.case_table.exists():
        write_table(folder.case_table, pd.DataFrame([_row(case, folder) for case in cases]))


def _row(case: Case, folder: AblationFolder) -> dict[str, Any]:
    entries: list[dict[str, Any]] = []
    for number, reference in enumerate(case.references):
        name = f"{case.id}/ref-{number}.png"
        save_png(reference.image, folder.cases / name)
        entries.append({"image": name, "region": reference.region, "subject": reference.subject})
    return {
        "case": case.id,
        "suite": case.suite,
        "prompt": case.prompt,
        "seed": case.seed,
        "references": json.dumps(entries),
    }
