"""Pictures with what is known of them: the factors that a probe may look for, and which pictures show one identity."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dynaip.contracts import Case
from dynaip.errors import InputError
from dynaip.images import load_image
from dynaip.notes import tell
from dynaip.suggest import did_you_mean

Ints = NDArray[np.int64]

SPECIFIC, AGNOSTIC, OTHER = "specific", "agnostic", "other"
"""Families of factors: what a subject is, how it is seen (both as in the paper's abstract), and the rest."""
FAMILIES: Mapping[str, str] = {"cp": SPECIFIC, "leak": AGNOSTIC}
"""What a score of an attribute says about it: kept identity is concept-specific, leaked context concept-agnostic."""
FAMILY_NAMES: Mapping[str, str] = {SPECIFIC: "concept-specific", AGNOSTIC: "concept-agnostic", OTHER: "other"}
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
TABLE = "labels.csv"


@dataclass(frozen=True)
class Labelled:
    """Pictures, the value of every factor for each of them, and groups (identities) that probes never split."""

    images: Sequence[Image.Image]
    factors: Mapping[str, Ints]
    """Factor -> index of its value, one a picture; -1 where it is not known."""
    families: Mapping[str, str]
    groups: Ints
    """One number a picture; pictures of one identity share it."""

    def family(self, *names: str) -> list[str]:
        """Factors of some families, in their order."""
        return [factor for factor in self.factors if self.families.get(factor, OTHER) in names]

    @property
    def categories(self) -> Ints | None:
        """What kind of thing each picture shows; None if nobody says."""
        return self.factors.get("category")


def codes(values: Sequence[Any]) -> Ints:
    """Values -> their index among the sorted different ones."""
    return np.unique(np.asarray([str(value) for value in values]), return_inverse=True)[1].astype(np.int64)


def pictures_of(cases: Sequence[Case]) -> Ints:
    """One number a case; cases whose first reference is the same picture share it."""
    seen: dict[bytes, int] = {}
    return np.array([seen.setdefault(case.references[0].image.tobytes(), len(seen)) for case in cases], np.int64)


def require_identities(labelled: Labelled, least: int, where: object = "the cases") -> None:
    """Raise ``InputError`` if there are fewer identities than a probe holds out in turn."""
    count = len(np.unique(labelled.groups))
    if count < least:
        raise InputError(f"{where}: probes hold identities out and need {least} of them; there are {count}")


def labelled_cases(cases: Sequence[Case], columns: Sequence[str] = ()) -> Labelled | None:
    """The first references of cases, with what ``truth["subjects"][0]["reference"]`` says of them.

    ``columns`` are those of the metrics: ``cp_X`` makes factor X concept-specific, ``leak_X`` concept-agnostic. Pictures of one
    combination of concept-specific values are one identity, else one picture is one. None if the cases know nothing of their
    references.
    """
    known = [row for case in cases if (row := _subject(case).get("reference"))]
    if known and len(known) < len(cases):
        tell(f"the benchmark knows the factors of {len(known)} of {len(cases)} references alone: none is used")
    if not cases or len(known) < len(cases):
        return None
    names = [name for name in known[0] if all(name in row for row in known) and len({row[name] for row in known}) > 1]
    named = [column.partition("_") for column in columns]
    families = {name: FAMILIES[score] for score, _, name in named if score in FAMILIES and name in names}
    factors = {name: codes([row[name] for row in known]) for name in names}
    identity = [name for name, family in families.items() if family == SPECIFIC]
    groups = codes([[row[name] for name in identity] for row in known]) if identity else pictures_of(cases)
    return Labelled([case.references[0].image for case in cases], factors, families, groups)


def labelled_subjects(cases: Sequence[Case]) -> Labelled | None:
    """The different first references of cases with the name of their subject as category; None if all have one name."""
    pictures = {case.references[0].image.tobytes(): case.references[0] for case in cases}
    names = [reference.subject for reference in pictures.values()]
    if len(set(names)) < 2:
        return None
    images = [reference.image for reference in pictures.values()]
    return Labelled(images, {"category": codes(names)}, {"category": OTHER}, codes(range(len(images))))


def _subject(case: Case) -> Mapping[str, Any]:
    subjects = case.truth.get("subjects") or [{}]
    return subjects[0]


def said(cases: Sequence[Case], columns: Sequence[str]) -> set[str]:
    """Factors of the references that every prompt says as well, such as the category: they are no news in a generation."""
    prompted = [name for score, _, name in (column.partition("_") for column in columns) if score == "pf" and name]
    pairs = [(_subject(case).get("labels") or {}, _subject(case).get("reference") or {}) for case in cases]
    return {name for name in prompted if all(wanted.get(name) == shown.get(name) for wanted, shown in pairs)}


def chosen(labelled: Labelled, order: Sequence[int] | Ints) -> Labelled:
    """Some of the pictures, in this order."""
    order = np.asarray(order)
    factors = {name: values[order] for name, values in labelled.factors.items()}
    return Labelled([labelled.images[k] for k in order], factors, labelled.families, labelled.groups[order])


def at_most(labelled: Labelled, count: int, seed: int = 0) -> Labelled:
    """Pictures of whole identities, ``count`` of them at most (at least one identity), in their order."""
    names = np.random.default_rng(seed).permutation(np.unique(labelled.groups))
    sizes = np.array([(labelled.groups == name).sum() for name in names])
    kept = names[: max(1, int((np.cumsum(sizes) <= count).sum()))]
    return chosen(labelled, np.flatnonzero(np.isin(labelled.groups, kept)))


def varied_first(labelled: Labelled) -> Labelled:
    """The same pictures, one of every category first, then of other identities: the first few are those that are drawn."""
    seen: dict[int, int] = {}
    identities: dict[int, dict[int, int]] = {}
    keys: list[tuple[int, int, int]] = []
    kinds = np.zeros(len(labelled.groups), np.int64) if labelled.categories is None else labelled.categories
    for k, (group, kind) in enumerate(zip(labelled.groups.tolist(), kinds.tolist(), strict=True)):
        of_kind = identities.setdefault(kind, {})
        keys.append((seen.get(group, 0), of_kind.setdefault(group, len(of_kind)), k))
        seen[group] = seen.get(group, 0) + 1
    return chosen(labelled, sorted(range(len(keys)), key=keys.__getitem__))


def labelled_folder(folder: Path) -> Labelled:
    """Pictures of a folder: with a ``labels.csv``, or sorted into ``category/instance/*.png`` (or ``category/*.png``).

    The table has a column ``file``, perhaps a column ``group`` (the identity), and one column a factor; ``specific/colour`` or
    ``agnostic/pose`` says the family of a factor; an empty cell is not known. Files and folders whose names begin with a dot or
    two underscores are none of the pictures. Raises ``InputError`` in one line if there is nothing to read.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder: give one with {TABLE}, or with one sub-folder a category")
    found = _from_table(folder) if (folder / TABLE).is_file() else _from_folders(folder)
    if not found.factors:
        raise InputError(f"{folder}: all pictures have the same labels; at least one factor needs two values")
    return found


def _from_table(folder: Path) -> Labelled:
    path = folder / TABLE
    rows = _read_table(path)
    if not rows or "file" not in rows[0]:
        raise InputError(f"{path}: it needs a column file, and one column a factor, with commas between them")
    for number, row in enumerate(rows, 2):
        if None in row or None in row.values():
            raise InputError(
                f"{path}, line {number}: it has {'more' if None in row else 'fewer'} cells than the first line"
            )
        if not row["file"].strip():
            raise InputError(f"{path}, line {number}: it names no file")
    columns = {name: [row[name] for row in rows] for name in rows[0] if name not in ("file", "group")}
    groups = codes([f"group {row['group']}" if row.get("group") else row["file"] for row in rows])
    return _labelled([folder / row["file"].strip() for row in rows], columns, groups, path)


def _read_table(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            table = csv.DictReader(lines)
            names = [name.strip() for name in table.fieldnames or []]
            table.fieldnames = names
            rows = list(table)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is no table that can be read: save it as CSV in UTF-8 ({error})") from error
    if "" in names or len(set(names)) < len(names):
        raise InputError(f"{path}: every column needs a name of its own")
    return rows


def _from_folders(folder: Path) -> Labelled:
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES)
    seen = [(path, path.relative_to(folder).parts) for path in paths]
    seen = [(path, parts) for path, parts in seen if not any(part.startswith((".", "__")) for part in parts)]
    places = [(path, parts) for path, parts in seen if len(parts) > 1]
    if not places:
        raise InputError(f"{folder}: no {TABLE} and no sub-folders with pictures")
    if len(places) < len(seen):
        tell(f"{folder}: pictures that lie in no sub-folder are left out: {len(seen) - len(places)}")
    groups = codes(["/".join(parts[:-1]) if len(parts) > 2 else str(path) for path, parts in places])
    return _labelled([path for path, _ in places], {"category": [parts[0] for _, parts in places]}, groups, folder)


def _labelled(paths: Sequence[Path], columns: Mapping[str, Sequence[str]], groups: Ints, where: Path) -> Labelled:
    factors: dict[str, Ints] = {}
    families: dict[str, str] = {}
    for name, cells in columns.items():
        family, _, plain = (part.strip() for part in name.rpartition("/"))
        values = [cell.strip() for cell in cells]
        if plain in families:
            raise InputError(f"{where}: two columns are called {plain}")
        if family not in ("", SPECIFIC, AGNOSTIC, OTHER):
            raise InputError(
                f"{where}: column {name} names no family: it begins with {SPECIFIC}/ or {AGNOSTIC}/, or has no slash."
                f"{did_you_mean(family, (SPECIFIC, AGNOSTIC))}"
            )
        families[plain] = family or OTHER
        if len(known := sorted({value for value in values if value})) > 1:
            factors[plain] = np.array([known.index(value) if value else -1 for value in values], np.int64)
    if factors and (alone := [name for name in families if name not in factors]):
        tell(f"{where}: left out, since they have one value in all pictures: {', '.join(alone)}")
    families = {name: family for name, family in families.items() if name in factors}
    return Labelled([load_image(path) for path in paths], factors, families, groups)
