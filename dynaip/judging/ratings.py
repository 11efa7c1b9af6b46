"""Ratings of pictures, by people or judges: tables, the answers of ``vlm``, or a folder of DreamBench++'s JSON files."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from dynaip.errors import InputError
from dynaip.notes import tell
from dynaip.plain import name_from
from dynaip.reading import rows_of, table

ITEM = ("method", "collection_id", "prompt_index")
"""What says which picture a file of DreamBench++ rates; names of files break on hyphens."""
ASPECTS = {"cp": "concept_preservation", "pf": "prompt_following"}
"""How DreamBench++'s folders of a score begin."""
TABLES = (".csv", ".parquet", ".json")
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
    """Read ratings; what is no number or of no case is told and left out; what a rater lacks or rated twice is told.

    A table (csv, parquet, a list in json) has columns ``case``, ``score``'s name (or ``score``), and perhaps ``rater``,
    ``category`` and ``arm``. A file of ``vlm``'s answers (jsonl) gives those of the rubric ``score``, 0 to 4. A folder holds
    DreamBench++'s files, in a folder for each rater or run; its cases are named as the benchmark ``dreambench_plus`` names them,
    its methods are arms. Raises ``InputError`` in one line if nothing can be read.
    """
    if path.is_dir():
        rows = _items(path, score)
    elif path.suffix == ".jsonl":
        rows = _answers(path, score)
    elif path.is_file():
        if path.suffix.lower() not in TABLES:
            raise InputError(
                f"{path}: ratings are read from {', '.join(TABLES)}, jsonl answers or a folder: save them as one"
            )
        rows = rows_of(path) if path.suffix.lower() == ".json" else table(path)
    else:
        raise InputError(f"{path}: no such file or folder: name a table, a judge's answers or a folder of ratings")
    column = next((name for name in (score, "score") if rows and name in rows[0]), None)
    if column is None or "case" not in rows[0]:
        there = f"it has {', '.join(map(str, rows[0]))}" if rows else "it has no rows"
        raise InputError(f"{path} needs the columns case and {score} (or score); {there}")
    if nameless := sum(not _text(row, "case") for row in rows):
        tell(f"{path}: {nameless} of {len(rows)} ratings name no case and are left out")
        rows = [row for row in rows if _text(row, "case")]
    found = [(_number(row.get(column)), row) for row in rows]
    if lost := sum(value is None for value, _ in found):
        tell(f"{path}: {lost} of {len(rows)} ratings are no number and are left out")
    ratings = [
        Rating(_text(row, "case"), _text(row, "rater") or path.stem, value, _text(row, "category"), _arm(row))
        for value, row in found
        if value is not None
    ]
    _tell_gaps(path, rows, ratings)
    return ratings


def _tell_gaps(path: Path, rows: Sequence[Mapping[str, Any]], ratings: Sequence[Rating]) -> None:
    """What is not as one rating of every picture by every rater would be: it changes means, and nobody sees it in them."""
    unnamed = sum(not _text(row, "rater") for row in rows)
    if 0 < unnamed < len(rows):
        tell(f"{path}: {unnamed} of {len(rows)} ratings name no rater: they count as one rater more, {path.stem}")
    given = Counter((each.rater, each.arm, each.case) for each in ratings)
    raters, pictures = ({key[:1] for key in given}, {key[1:] for key in given})
    if twice := sum(count > 1 for count in given.values()):
        tell(f"{path}: {twice} pictures are rated more than once by one rater: the mean of these counts")
    if len(raters) > 1 and (lacking := len(raters) * len(pictures) - len(given)):
        tell(
            f"{path}: {lacking} of {len(raters)} x {len(pictures)} ratings are not there; means are over those that are"
        )


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    return "" if value is None or value != value else str(value).strip()


def _arm(row: Mapping[str, Any]) -> str:
    return next(filter(None, (_text(row, name) for name in ARMS)), "")


def _items(folder: Path, score: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    damaged, passed_over, others = 0, 0, tuple(begin for name, begin in ASPECTS.items() if name != score)
    for path in sorted(folder.rglob("*.json")):
        inner = path.relative_to(folder).parts[:-1]
        if score in ASPECTS and any(part.startswith(others) for part in (folder.name, *inner)):
            passed_over += 1
            continue
        item = _mapping(path.read_bytes())
        if item is None or not set(ITEM) <= item.keys():
            damaged += 1
            continue
        method, collection, number = (str(item[name]) for name in ITEM)
        run = inner[:-1] if inner and inner[-1] == method else inner
        rater = "/".join(part for part in run if part not in ASPECTS.values()) or "/".join(run) or folder.name
        rows.append({**item, "case": name_from(f"{collection}-{number}", "case"), "arm": method, "rater": rater})
    if damaged:
        tell(f"{folder}: {damaged} files are damaged or rate nothing, and are left out")
    if not rows:
        more = f"; {passed_over} files are of another score" if passed_over else ""
        raise InputError(
            f"{folder} holds no ratings of {score} as DreamBench++ writes them, one JSON file a picture{more}"
        )
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
