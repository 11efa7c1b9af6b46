"""Ratings of pictures, by people or judges: tables, the answers of ``vlm``, or a folder of DreamBench++'s JSON files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from dynaip.errors import InputError
from dynaip.notes import tell
from dynaip.plain import name_from
from dynaip.reading import table

ITEM = ("method", "collection_id", "prompt_index")
"""What says which picture a file of DreamBench++ rates; names of files break on hyphens."""
ASPECTS = {"cp": "concept_preservation", "pf": "prompt_following"}
"""How DreamBench++'s folders of a score begin."""
ARMS = ("arm", "method")
"""Columns that say whose picture it is, in a table of several arms."""


@dataclass(frozen=True)
class Rating:
    """What one rater gave one picture."""

    case: str
    rater: str
    value: float
    category: str = ""
    arm: str = ""
    """Whose picture it is, where the ratings are of several arms."""


def read_ratings(path: Path, score: str) -> list[Rating]:
    """Read ratings; what is no number is told and left out.

    A table (csv, parquet) has columns ``case``, ``score``'s name (or ``score``), and perhaps ``rater``, ``category`` and
    ``arm``. A file of ``vlm``'s answers (jsonl) gives those of the rubric ``score``, 0 to 4. A folder holds DreamBench++'s files,
    one a rater; its cases are named as the benchmark ``dreambench_plus`` names them, its methods are arms. Raises ``InputError``
    in one line if nothing can be read.
    """
    if path.is_dir():
        rows = _items(path, score)
    elif path.suffix == ".jsonl":
        rows = _answers(path, score)
    elif path.is_file():
        rows = table(path)
    else:
        raise InputError(f"{path}: no such file or folder: name a table, a judge's answers or a folder of ratings")
    column = next((name for name in (score, "score") if rows and name in rows[0]), None)
    if column is None or "case" not in rows[0]:
        raise InputError(f"{path} needs the columns case and {score} (or score)")
    found = [(_number(row.get(column)), row) for row in rows]
    lost = sum(value is None for value, _ in found)
    if lost:
        tell(f"{path}: {lost} of {len(rows)} ratings are no number and are left out")
    return [
        Rating(str(row["case"]), str(row.get("rater") or path.stem), value, str(row.get("category") or ""), _arm(row))
        for value, row in found
        if value is not None
    ]


def _arm(row: Mapping[str, Any]) -> str:
    given = (row.get(name) for name in ARMS)
    return next((str(value) for value in given if value and value == value), "")


def _items(folder: Path, score: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    damaged, others = 0, tuple(begin for name, begin in ASPECTS.items() if name != score)
    for path in sorted(folder.rglob("*.json")):
        inner = path.relative_to(folder).parts
        if score in ASPECTS and any(part.startswith(others) for part in inner[:-1]):
            continue
        item = _mapping(path.read_bytes())
        if item is None or not set(ITEM) <= item.keys():
            damaged += 1
            continue
        method, collection, number = (str(item[name]) for name in ITEM)
        rater = inner[0] if len(inner) > 1 else folder.name
        rows.append({**item, "case": name_from(f"{collection}-{number}", "case"), "arm": method, "rater": rater})
    if damaged:
        tell(f"{folder}: {damaged} files are damaged or rate nothing, and are left out")
    return [{"score": None, **row} for row in rows]


def _answers(path: Path, rubric: str) -> list[dict[str, Any]]:
    """The last answer to each question about a rubric; a case's repeats become one mean."""
    last: dict[str, dict[str, Any]] = {}
    pictures: dict[str, set[str]] = {}
    for line in path.read_bytes().splitlines():
        found = _mapping(line)
        about: Any = (found or {}).get("about")
        if found and isinstance(about, dict) and cast("dict[str, Any]", about).get("rubric") == rubric:
            last[str(found.get("key"))] = {**found, "case": about.get("case")}
            pictures.setdefault(str(about.get("case")), set()).add(str(about.get("picture")))
    if several := [case for case, found in pictures.items() if len(found) > 1]:
        raise InputError(
            f"{path} holds answers about {len(pictures[several[0]])} pictures of {several[0]}, of several arms perhaps: "
            "give their scores.parquet"
        )
    by_case: dict[str, list[float]] = {}
    for found in last.values():
        value = _number(found.get("score"))
        if value is not None:
            by_case.setdefault(str(found["case"]), []).append(value)
    return [{"case": case, "score": sum(values) / len(values)} for case, values in by_case.items()]


def _mapping(data: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", found) if isinstance(found, dict) else None


def _number(value: Any) -> float | None:
    try:
        number = float(value) if not isinstance(value, bool) else float("nan")
    except (TypeError, ValueError):
        return None
    return number if abs(number) < float("inf") else None


def within(ratings: Sequence[Rating], highest: float, where: Path) -> list[Rating]:
    """Ratings from 0 to ``highest``; others are told and left out, as those of DreamBench++ that nobody checked."""
    kept = [each for each in ratings if 0 <= each.value <= highest]
    if len(kept) < len(ratings):
        tell(f"{where}: {len(ratings) - len(kept)} ratings lie outside 0 to {highest:g} and are left out")
    return kept
