"""Pictures that others painted: found in the layouts that people have, one a case, none missing and none doubled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, overload

from PIL import Image

from dynaip.contracts import Case
from dynaip.errors import InputError
from dynaip.images import load_image
from dynaip.notes import tell
from dynaip.paths import missing
from dynaip.reading import rows_of

ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
TABLES = frozenset({".csv", ".json", ".jsonl", ".parquet"})
NAMED = 3
"""Cases that a message names."""


class Pictures(Sequence[Image.Image]):
    """Pictures on disk as a sequence: each is read when it is asked for, so that thousands need no memory."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = list(paths)

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, index: int) -> Image.Image: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Image.Image]: ...
    def __getitem__(self, index: int | slice) -> Image.Image | Sequence[Image.Image]:
        if isinstance(index, slice):
            return Pictures(self.paths[index])
        return load_image(self.paths[index])

    def __iter__(self) -> Iterator[Image.Image]:
        return (load_image(path) for path in self.paths)


def find_pictures(place: Path, cases: Sequence[Case], places: Callable[[Case], Sequence[str]]) -> list[Path]:
    """The picture of every case, in order, from a folder or from a table with the columns case and image.

    ``places`` gives where a case's picture may lie in a folder (or in ``samples/`` in it), without the ending. Raises
    ``InputError`` in one line if pictures are missing, if a case has two, or if there is no such folder or table.
    """
    if place.is_file():
        found = _from_table(place)
        candidates = {case.id: found.get(case.id, []) for case in cases}
    elif place.is_dir():
        lying = _lying(place)
        candidates = {case.id: _of_case(lying, places(case)) for case in cases}
        used = {path for paths in candidates.values() for path in paths}
        spare = [
            path for paths in lying.values() for path in paths if path not in used and "src_image" not in path.parts
        ]
        if spare:
            tell(
                f"{place}: {len(spare)} pictures belong to no case that is scored, {spare[0].relative_to(place)} for one"
            )
    else:
        raise InputError(f"{place}: there is no such folder or table.{missing(place)}")
    _check(place, cases, candidates, places)
    return [candidates[case.id][0] for case in cases]


def _lying(place: Path) -> dict[str, list[Path]]:
    """Path in the folder without the ending -> the pictures of that name."""
    found: dict[str, list[Path]] = {}
    for path in sorted(place.rglob("*")):
        if path.suffix.lower() in ENDINGS and path.is_file():
            found.setdefault(path.relative_to(place).with_suffix("").as_posix(), []).append(path)
    return found


def _of_case(lying: dict[str, list[Path]], places: Sequence[str]) -> list[Path]:
    tried = [name for place in dict.fromkeys(places) for name in (place, str(PurePosixPath("samples") / place))]
    return [path for name in tried for path in lying.get(name, ())]


def _from_table(file: Path) -> dict[str, list[Path]]:
    if file.suffix.lower() not in TABLES:
        raise InputError(f"{file}: give a folder of pictures, or a table ({', '.join(sorted(TABLES))})")
    found: dict[str, list[Path]] = {}
    for number, row in enumerate(rows_of(file), start=1):
        if row.get("case") is None or not row.get("image"):
            raise InputError(f"{file}: row {number} needs the columns case and image")
        found.setdefault(str(row["case"]), []).append(file.parent / str(row["image"]))
    return found


def _check(
    place: Path,
    cases: Sequence[Case],
    found: dict[str, list[Path]],
    places: Callable[[Case], Sequence[str]],
) -> None:
    lacking = [case for case in cases if not any(path.is_file() for path in found[case.id])]
    if lacking:
        names = ", ".join(case.id for case in lacking[:NAMED])
        looked = " or ".join(dict.fromkeys(places(lacking[0])))
        raise InputError(
            f"{place}: {len(lacking)} of {len(cases)} pictures are missing: {names}{' …' * (len(lacking) > NAMED)} (looked for "
            f"{looked}): paint them, or score fewer cases with --limit or --suite"
        )
    doubled = [case for case in cases if len(found[case.id]) > 1]
    if doubled:
        first = found[doubled[0].id]
        raise InputError(
            f"{place}: {len(doubled)} cases have two pictures or more, such as {doubled[0].id}: {_short(first[0], place)} and "
            f"{_short(first[1], place)}: leave one"
        )


def _short(path: Path, place: Path) -> Any:
    return path.relative_to(place) if path.is_relative_to(place) else path
