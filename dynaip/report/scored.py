"""Scores of several runs as rows of arms: runs that differ in their training seed alone are seeds of one arm."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dynaip.config.differences import differences
from dynaip.errors import InputError
from dynaip.notes import tell
from dynaip.reading import Row, mapping, table

SEED = "training.seed"


def scored_rows(runs: dict[str, Path]) -> list[Row]:
    """Rows with ``arm`` and the seed of training; ``InputError`` names a folder without scores."""
    rows: list[Row] = []
    for name, (arm, seed) in _arms(runs).items():
        path = runs[name] / "scores.parquet"
        found = table(path)
        if not found or not {"case", "suite"} <= found[0].keys():
            raise InputError(f"{path} has no scores: dynaip evaluate (or score) makes them")
        if len(arms := sorted({str(row["arm"]) for row in found if row.get("arm")})) > 1:
            raise InputError(
                f"{path} holds {len(arms)} arms: name their folders, {runs[name] / 'arms' / arms[0]} for one"
            )
        counted = Counter((row["suite"], row["case"]) for row in found)
        if twice := [case for (_, case), count in counted.items() if count > 1]:
            raise InputError(f"{path} has {len(twice)} cases more than once, {twice[0]} for one: leave one row of each")
        rows += [{**row, "arm": arm, "seed": seed} for row in found]
    return rows


def _arms(runs: dict[str, Path]) -> dict[str, tuple[str, int]]:
    """Arm and seed of each run, by name."""
    configs = {name: mapping(folder / "config.yaml") for name, folder in runs.items()}
    found: dict[str, tuple[str, int]] = {}
    for name, config in configs.items():
        seed = _seed(config)
        like = [other for other, (arm, _) in found.items() if arm == other and config and _same(configs[other], config)]
        taken = {known for arm, known in found.values() if like and arm == like[0]}
        found[name] = (like[0], seed) if like and seed not in taken else (name, seed)
    return found


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return [path for path, _, _ in differences(one, other)] == [SEED]


def _seed(config: dict[str, Any]) -> int:
    training: Any = config.get("training")
    found = training.get("seed", 0) if isinstance(training, dict) else 0  # pyright: ignore[reportUnknownVariableType]
    return found if isinstance(found, int) else 0


def subjects_of(path: Path) -> dict[str, str]:
    """Case -> subject, from a table with these two columns; ``InputError`` if it lacks them."""
    if not path.is_file():
        raise InputError(f"{path}: no such file: name a csv or parquet file with the columns case and subject")
    rows = table(path)
    if not rows or not {"case", "subject"} <= rows[0].keys():
        raise InputError(f"{path} needs the columns case and subject")
    if unnamed := sum(row["subject"] in (None, "") for row in rows):
        raise InputError(f"{path}: {unnamed} of {len(rows)} rows name no subject: name one for each case")
    return {str(row["case"]): str(row["subject"]) for row in rows}


def tell_unnamed(path: Path, of: Mapping[str, str], rows: Sequence[Row]) -> None:
    """Say how many cases the table of subjects does not name: each counts as a subject of its own."""
    cases = {str(row["case"]) for row in rows}
    if lacking := sorted(cases - of.keys()):
        few = f"{len(lacking)} of {len(cases)} cases are not in it, {lacking[0]} for one"
        tell(f"{path}: {few}: each counts as a subject of its own")


def named(folders: Sequence[Path]) -> dict[str, Path]:
    """Short names of folders, their last parts; ``InputError`` if one is named twice or two cannot be told apart."""
    places = [folder.resolve() for folder in folders]
    if len({*places}) < len(places):
        raise InputError("a run is named twice: name each once")
    for depth in range(1, max(len(place.parts) for place in places) + 1):
        names = ["/".join(place.parts[-depth:]) for place in places]
        if len({*names}) == len(names):
            return dict(zip(names, folders, strict=True))
    raise InputError("these runs cannot be told apart by their names")
