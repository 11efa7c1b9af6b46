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

    def __init__(self, paths: Sequence[Path], quarters: Sequence[int | None] | None = None) -> None:
        self.paths = list(paths)
        self.quarters = list(quarters) if quarters is not None else [None] * len(self.paths)
        """Which quarter of its file a picture is, 1 to 4; None for the whole file."""

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, index: int) -> Image.Image: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Image.Image]: ...
    def __getitem__(self, index: int | slice) -> Image.Image | Sequence[Image.Image]:
        if isinstance(index, slice):
            return Pictures(self.paths[index], self.quarters[index])
        return _read(self.paths[index], self.quarters[index])

    def __iter__(self) -> Iterator[Image.Image]:
        return map(_read, self.paths, self.quarters)


def _read(path: Path, quarter: int | None) -> Image.Image:
    image = load_image(path)
    if quarter is None:
        return image
    width, height = image.width // 2, image.height // 2
    left, top = (quarter - 1) % 2 * width, (quarter - 1) // 2 * height
    return image.crop((left, top, left + width, top + height))


Found = tuple[Path, int | None]
"""A file, and which quarter of it."""


def find_pictures(place: Path, cases: Sequence[Case], places: Callable[[Case], Sequence[str]]) -> Pictures:
    """The picture of every case, in order, from a folder or from a table with the columns case and image.

    ``places`` gives where a case's picture may lie in a folder (or in ``samples/`` in it), without the ending. Raises
    ``InputError`` in one line if pictures are missing, if a case has two, or if there is no such folder or table.
    """
    if place.is_file():
        found = _from_table(place)
        candidates = {case.id: found.get(case.id, []) for case in cases}
        if spare_rows := [name for name in found if name not in candidates]:
            tell(f"{place}: {len(spare_rows)} rows belong to no case that is scored, {spare_rows[0]} for one")
    elif place.is_dir():
        lying = _lying(place)
        candidates = {case.id: _of_case(lying, places(case)) for case in cases}
        used = {path for paths in candidates.values() for path, _ in paths}
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
    _check_shared(place, candidates)
    paths, quarters = zip(*(candidates[case.id][0] for case in cases)) if cases else ((), ())
    if cut := sum(quarter is not None for quarter in quarters):
        tell(f"{place}: {cut} pictures are quarters of squares of four, as the benchmark's own programs write them")
    return Pictures(paths, quarters)


def _lying(place: Path) -> dict[str, list[Path]]:
    """Path in the folder without the ending -> the pictures of that name."""
    found: dict[str, list[Path]] = {}
    for path in sorted(place.rglob("*")):
        if path.suffix.lower() in ENDINGS and path.is_file():
            found.setdefault(path.relative_to(place).with_suffix("").as_posix(), []).append(path)
    return found


def _of_case(lying: dict[str, list[Path]], places: Sequence[str]) -> list[Found]:
    found: list[Found] = []
    for place in dict.fromkeys(places):
        pattern, _, quarter = place.partition("#")
        for name in (pattern, str(PurePosixPath("samples") / pattern)):
            begins = name.removesuffix("*")
            same = (
                [name] if begins == name else [n for n in lying if n.startswith(begins) and "/" not in n[len(begins) :]]
            )
            found += [(path, int(quarter) if quarter else None) for each in same for path in lying.get(each, ())]
    return found


def _from_table(file: Path) -> dict[str, list[Found]]:
    if file.suffix.lower() not in TABLES:
        raise InputError(f"{file}: give a folder of pictures, or a table ({', '.join(sorted(TABLES))})")
    found: dict[str, list[Found]] = {}
    for number, row in enumerate(rows_of(file), start=1):
        if row.get("case") is None or not row.get("image"):
            raise InputError(f"{file}: row {number} needs the columns case and image")
        found.setdefault(str(row["case"]), []).append((file.parent / str(row["image"]), None))
    return found


def _check(
    place: Path,
    cases: Sequence[Case],
    found: dict[str, list[Found]],
    places: Callable[[Case], Sequence[str]],
) -> None:
    lacking = [case for case in cases if not any(path.is_file() for path, _ in found[case.id])]
    if lacking:
        names = ", ".join(case.id for case in lacking[:NAMED])
        looked = " or ".join(dict.fromkeys(name.partition("#")[0] for name in places(lacking[0])))
        hint = f" (looked for {looked})" if place.is_dir() else ""
        raise InputError(
            f"{place}: {len(lacking)} of {len(cases)} pictures are missing: {names}{' …' * (len(lacking) > NAMED)}"
            f"{hint}: paint them, or score fewer cases with --limit or --suite"
        )
    doubled = [case for case in cases if len(found[case.id]) > 1]
    if doubled:
        first = [path for path, _ in found[doubled[0].id]]
        raise InputError(
            f"{place}: {len(doubled)} cases have two pictures or more, such as {doubled[0].id}: {_short(first[0], place)} and "
            f"{_short(first[1], place)}: leave one"
        )


def _check_shared(place: Path, found: dict[str, list[Found]]) -> None:
    """One picture for two cases: names in a folder are meant otherwise, a table may mean it (a reference as its own baseline)."""
    users: dict[Found, list[str]] = {}
    for case, (one, *_) in found.items():
        users.setdefault(one, []).append(case)
    shared = [(path, names) for (path, _), names in users.items() if len(names) > 1]
    if shared:
        path, names = shared[0]
        line = f"{place}: {_short(path, place)} is the picture of {names[0]} and of {names[1]}"
        if place.is_dir():
            raise InputError(f"{line}: score one suite alone with --suite, or name pictures by their cases")
        tell(f"{line}, and {len(shared)} pictures are of two cases or more")


def _short(path: Path, place: Path) -> Any:
    return path.relative_to(place) if path.is_relative_to(place) else path
