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

Ints = NDArray[np.int64]

SPECIFIC, AGNOSTIC, OTHER = "specific", "agnostic", "other"
"""Families of factors: what a subject is, how it is seen (both as in the paper's abstract), and the rest."""
FAMILIES: Mapping[str, str] = {"cp": SPECIFIC, "leak": AGNOSTIC}
"""What a score of an attribute says about it: kept identity is concept-specific, leaked context concept-agnostic."""
PICTURES = (".png", ".jpg", ".jpeg", ".webp")
TABLE = "labels.csv"


@dataclass(frozen=True)
class Labelled:
    """Pictures, the value of every factor for each of them, and groups (identities) that probes never split."""

    images: Sequence[Image.Image]
    factors: Mapping[str, Ints]
    """Factor -> index of its value, one a picture."""
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


def labelled_cases(cases: Sequence[Case], columns: Sequence[str] = ()) -> Labelled | None:
    """The first references of cases, with what ``truth["subjects"][0]["reference"]`` says of them.

    ``columns`` are those of the metrics: ``cp_X`` makes factor X concept-specific, ``leak_X`` concept-agnostic. Pictures of one
    combination of concept-specific values are one identity. None if the cases know nothing of their references.
    """
    known = [_subject(case).get("reference") for case in cases]
    if not cases or not all(known):
        return None
    names = [name for name in known[0] if len({row[name] for row in known}) > 1]
    named = [column.partition("_") for column in columns]
    families = {name: FAMILIES[score] for score, _, name in named if score in FAMILIES and name in names}
    factors = {name: codes([row[name] for row in known]) for name in names}
    identity = [name for name, family in families.items() if family == SPECIFIC]
    groups = codes([[row[name] for name in identity] for row in known]) if identity else codes(range(len(cases)))
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


def labelled_folder(folder: Path) -> Labelled:
    """Pictures of a folder: with a ``labels.csv``, or sorted into ``category/instance/*.png`` (or ``category/*.png``).

    The table has a column ``file``, perhaps a column ``group`` (the identity), and one column a factor; ``specific/colour`` or
    ``agnostic/pose`` says the family of a factor. Raises ``InputError`` in one line if there is nothing to read.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder: give one with {TABLE}, or with one sub-folder a category")
    found = _from_table(folder) if (folder / TABLE).is_file() else _from_folders(folder)
    if not found.factors:
        raise InputError(f"{folder}: all pictures have the same labels; at least one factor needs two values")
    return found


def _from_table(folder: Path) -> Labelled:
    with (folder / TABLE).open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    if not rows or "file" not in rows[0]:
        raise InputError(f"{folder / TABLE}: it needs a column file, and one column a factor")
    columns = {name: [row[name] for row in rows] for name in rows[0] if name not in ("file", "group")}
    groups = codes([row.get("group") or k for k, row in enumerate(rows)])
    return _labelled([folder / row["file"] for row in rows], columns, groups)


def _from_folders(folder: Path) -> Labelled:
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES and path.parent != folder)
    if not paths:
        raise InputError(f"{folder}: no {TABLE} and no sub-folders with pictures")
    places = [path.relative_to(folder).parts for path in paths]
    groups = codes(["/".join(parts[:-1]) if len(parts) > 2 else str(path) for parts, path in zip(places, paths)])
    return _labelled(paths, {"category": [parts[0] for parts in places]}, groups)


def _labelled(paths: Sequence[Path], columns: Mapping[str, Sequence[str]], groups: Ints) -> Labelled:
    factors: dict[str, Ints] = {}
    families: dict[str, str] = {}
    for name, values in columns.items():
        family, _, plain = name.rpartition("/")
        if len(set(values)) > 1:
            factors[plain] = codes(values)
            families[plain] = family if family in (SPECIFIC, AGNOSTIC) else OTHER
    return Labelled([load_image(path) for path in paths], factors, families, groups)
