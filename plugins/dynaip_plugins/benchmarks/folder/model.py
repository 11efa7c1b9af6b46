"""Cases from a table, a row each; references and regions are lists, in csv written as JSON or parted by ``|``.

Columns: ``prompt``; ``references`` (paths relative to the table, or mappings with image, region, subject, mask); optional
``id``, ``suite``, ``regions`` (left, top, right, bottom in [0, 1]), ``subjects``, ``masks``, ``seed``, ``category``,
``height`` and ``width``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from dynaip.contracts import Case, CaseReference
from dynaip.errors import InputError
from dynaip.images import read_mask
from dynaip.notes import tell
from dynaip.plain import check_name
from dynaip.reading import rows_of
from dynaip.suggest import did_you_mean

from ..copies import CopiedBenchmark
from .config import FolderConfig

COLUMNS = (
    *("id", "suite", "prompt", "references", "regions", "subjects", "masks", "seed", "category", "height", "width"),
)
TABLES = (".csv", ".json", ".jsonl", ".parquet")
SUITE = "all"
"""Suite of the rows that name none."""


class FolderBenchmark(CopiedBenchmark):
    """A table of one's own."""

    where = "the pictures beside the table"
    config: FolderConfig

    @cached_property
    def suites(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Those that the table names, in its order."""
        named = [check_name(str(row.get("suite") or SUITE), f"{self.file}: the suite") for row in self.rows]
        return tuple(dict.fromkeys(named))

    @cached_property
    def file(self) -> Path:
        """The table."""
        if self.config.table:
            return self.part(self.config.table)
        found = [path for path in sorted(self.root.iterdir()) if path.suffix.lower() in TABLES]
        if len(found) != 1:
            there = ", ".join(path.name for path in found[:4]) or "none"
            raise InputError(f"{self.root}: name the table of cases with benchmark.table; there is {there}")
        return found[0]

    @cached_property
    def rows(self) -> Sequence[Mapping[str, Any]]:
        """The rows of the table, those without any value left out."""
        rows = [row for row in rows_of(self.file) if any(value not in (None, "") for value in row.values())]
        if not rows:
            raise InputError(f"{self.file} holds no cases: write a row for each")
        names = dict.fromkeys(str(name) for row in rows for name in row)
        if unknown := [name for name in names if name not in COLUMNS]:
            hint = did_you_mean(unknown[0], COLUMNS)
            tell(f"{self.file}: the columns {', '.join(unknown)} are not read.{hint}")
        if "references" in names and (
            bare := [number for number, row in enumerate(rows, 1) if not row.get("references")]
        ):
            tell(f"{self.file}: {len(bare)} of {len(rows)} rows have no references, row {bare[0]} for one")
        return rows

    def cases(self, suite: str, *, seed: int = 0) -> Sequence[Case]:
        """Read the rows of a suite; ``InputError`` names table, row and what is wrong with it."""
        self.check_suite(suite)
        numbered = [(number, row) for number, row in enumerate(self.rows) if str(row.get("suite") or SUITE) == suite]
        return [self._row(suite, number, row, seed) for number, row in numbered]

    def _row(self, suite: str, number: int, row: Mapping[str, Any], seed: int) -> Case:
        what = f"{self.file}: row {number + 1}"
        prompt = row.get("prompt")
        if not isinstance(prompt, str) or not prompt.strip():
            raise InputError(f"{what} has no prompt")
        name = check_name(str(row.get("id") or f"case-{number:04d}"), f"{what}: the id")
        made = self.case(
            name, suite, prompt, self._references(what, row), seed, category=str(row.get("category") or "")
        )
        own = _number(what, "seed", row)
        height, width = _number(what, "height", row), _number(what, "width", row)
        if (height is None) != (width is None) or 0 in (height, width):
            raise InputError(f"{what}: height and width go together, in pixels")
        size = made.size if height is None or width is None else (height, width)
        return replace(made, seed=made.seed if own is None else own, size=size)

    def _references(self, what: str, row: Mapping[str, Any]) -> list[CaseReference]:
        entries = [each if isinstance(each, Mapping) else {"image": each} for each in _list(what, "references", row)]
        for column, name in (("regions", "region"), ("subjects", "subject"), ("masks", "mask")):
            values = _list(what, column, row)
            if values and len(values) != len(entries):
                raise InputError(f"{what}: {len(values)} {column} for {len(entries)} references")
            entries = (
                [{**each, name: value} for each, value in zip(entries, values, strict=True)] if values else entries
            )
        return [self._reference(f"{what}: reference {k}", each) for k, each in enumerate(entries, start=1)]

    def _reference(self, what: str, entry: Mapping[str, Any]) -> CaseReference:
        if not entry.get("image"):
            raise InputError(f"{what} names no image")
        mask = entry.get("mask")
        path = self.file.parent / str(mask) if mask else None
        if path is not None and not path.is_file():
            raise InputError(f"{what}: there is no mask {path}")
        return CaseReference(
            self.picture(self.file.parent / str(entry["image"])),
            _region(what, entry.get("region")),
            str(entry.get("subject") or ""),
            partial(_mask, path, what) if path else None,
        )


def _mask(path: Path, what: str) -> Any:
    return read_mask(path, what) > 0.5


def _region(what: str, given: Any) -> tuple[float, float, float, float] | None:
    if given in (None, "", []):
        return None
    try:
        left, top, right, bottom = (float(each) for each in (given.split(",") if isinstance(given, str) else given))
    except (TypeError, ValueError) as error:
        raise InputError(f"{what}: a region is left, top, right, bottom within 0 and 1, not {given!r}") from error
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise InputError(f"{what}: the region {given} is not left, top, right, bottom within 0 and 1")
    return left, top, right, bottom


def _number(what: str, name: str, row: Mapping[str, Any]) -> int | None:
    value = row.get(name)
    if value in (None, "") or value != value:
        return None
    try:
        number = int(str(value).removesuffix(".0"))
    except ValueError as error:
        raise InputError(f"{what}: {name} must be a whole number, not {value!r}") from error
    if number < 0:
        raise InputError(f"{what}: {name} must not be negative")
    return number


def _list(what: str, name: str, row: Mapping[str, Any]) -> list[Any]:
    """The values of a column that holds several: a list, JSON, or text parted by ``|``."""
    value = row.get(name)
    if value is None or value == "":
        return []
    if isinstance(value, str) and value.lstrip().startswith(("[", "{")):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise InputError(f"{what}: {name} is no JSON: {value[:60]!r}") from error
    if isinstance(value, str):
        return [each.strip() for each in value.split("|")]
    return list(value) if isinstance(value, Sequence) else [value]
