"""OmniContext (OmniGen2): parquet files with key, task_type, instruction and input_images; a suite a task type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from io import BytesIO
from typing import Any

from PIL import Image

from dynaip.contracts import Case, CaseReference
from dynaip.errors import InputError
from dynaip.images import read_picture
from dynaip.plain import check_name
from dynaip.reading import rows_of

from ..copies import CopiedBenchmark
from .config import OmniContextConfig

COLUMNS = ("key", "task_type", "instruction", "input_images")


class OmniContext(CopiedBenchmark):
    """One to several references a case."""

    where = "the data set OmniGen2/OmniContext"
    config: OmniContextConfig

    @cached_property
    def rows(self) -> Sequence[Mapping[str, Any]]:
        """The rows of all parquet files of the copy."""
        files = sorted(self.root.rglob("*.parquet"))
        if not files:
            raise InputError(f"{self.root}: there are no parquet files; get {self.where}")
        found = {file: rows_of(file) for file in files}
        for file, rows in found.items():
            if lacking := [name for name in COLUMNS if not rows or name not in rows[0]]:
                raise InputError(f"{file}: there is no column {lacking[0]}; get {self.where}")
        return [row for rows in found.values() for row in rows]

    @cached_property
    def suites(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The task types, in their order."""
        return tuple(dict.fromkeys(check_name(str(row["task_type"]), "the task type") for row in self.rows))

    def cases(self, suite: str, *, seed: int = 0) -> Sequence[Case]:
        """Read the rows of a task type; ``InputError`` names the key whose pictures cannot be read."""
        self.check_suite(suite)
        return [self._case(suite, row, seed) for row in self.rows if str(row["task_type"]) == suite]

    def _case(self, suite: str, row: Mapping[str, Any], seed: int) -> Case:
        key, given = str(row["key"] or ""), row["input_images"] or []
        what = f"{self.where}: {key}"
        if not key:
            raise InputError(f"{self.where}: a row of {suite} has no key")
        references = [CaseReference(_decoded(each, f"{what}, picture {k}")) for k, each in enumerate(given, start=1)]
        if not references or not row["instruction"]:
            raise InputError(f"{what} has no instruction or no pictures")
        kind = suite.partition("_")[2] or suite
        return self.case(
            f"{suite}-{key}", suite, str(row["instruction"]), references, seed, category=kind,
            places=[f"fullset/{suite}/{key}", f"{suite}/{key}"],
        )  # fmt: skip


def _decoded(given: Any, what: str) -> Image.Image:
    data = given.get("bytes") if isinstance(given, Mapping) else given
    if not isinstance(data, bytes):
        raise InputError(f"{what}: its bytes are not in the file")
    try:
        return read_picture(Image.open(BytesIO(data)), what)
    except OSError as error:
        raise InputError(f"{what} is damaged") from error
