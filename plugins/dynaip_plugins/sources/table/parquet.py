"""Rows of parquet files, local or of the hub, a row group at a time."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dynaip.errors import BadSample, InputError
from dynaip.suggest import one_line
from dynaip_plugins.shared.pictures import file_digest, short_digest

from .rows import Row, Rows

KEPT = 2**29
"""Bytes of row groups that a process keeps at most (one in any case)."""
BATCH = 2**14


class ParquetRows(Rows):
    """Rows of parquet files; groups that were read last are kept. ``files`` may be those of another file system."""

    def __init__(self, files: Sequence[Any], columns: Sequence[str], system: Any = None) -> None:
        self.files, self.system = list(files), system
        opened = [self._open(file) for file in self.files]
        self.names = list(dict.fromkeys(name for each in opened for name in each.schema_arrow.names))
        self.columns = [name for name in self._tops(columns) if name in self.names]
        self.groups = [
            (number, group, each.metadata.row_group(group).num_rows)
            for number, each in enumerate(opened)
            for group in range(each.metadata.num_row_groups)
        ]
        self.ends = [*accumulate(rows for *_, rows in self.groups)]
        self.kept: OrderedDict[int, pa.Table] = OrderedDict()

    def _tops(self, columns: Sequence[str]) -> list[str]:
        """The columns that hold these, which may be parts of them."""
        return [*dict.fromkeys(name if name in (self.names or ()) else name.split(".")[0] for name in columns)]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"kept": OrderedDict()}

    def _open(self, file: Any) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(file, filesystem=self.system, memory_map=self.system is None)
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{file} is no parquet file that can be read ({one_line(error)})") from error

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def blocks(self) -> list[int]:
        """Rows of each row group."""
        return [rows for *_, rows in self.groups]

    def _place(self, row: int) -> tuple[int, int]:
        number = bisect_right(self.ends, row)
        return number, row - (self.ends[number - 1] if number else 0)

    def __getitem__(self, row: int) -> Row:
        number, place = self._place(row)
        try:
            return self._group(number).slice(place, 1).to_pylist()[0]
        except (OSError, pa.ArrowException) as error:
            raise BadSample(f"{self.name(row)}: its row group cannot be read ({one_line(error)})") from error

    def _group(self, number: int) -> pa.Table:
        if number not in self.kept:
            file, group, _ = self.groups[number]
            self.kept[number] = self._open(self.files[file]).read_row_group(group, columns=self.columns)
            while len(self.kept) > 1 and sum(each.nbytes for each in self.kept.values()) > KEPT:
                self.kept.popitem(last=False)
        self.kept.move_to_end(number)
        return self.kept[number]

    def scan(self, columns: Sequence[str]) -> Iterator[Row | None]:
        """All rows in order; None for what is no row."""
        tops = self._tops(columns)
        for number, file in enumerate(self.files):
            opened = self._open(file)
            for group in [group for each, group, _ in self.groups if each == number]:
                rows = opened.metadata.row_group(group).num_rows
                try:
                    for batch in opened.iter_batches(BATCH, row_groups=[group], columns=tops):
                        rows -= len(batch)
                        yield from batch.to_pylist()
                except (OSError, pa.ArrowException):
                    yield from [None] * rows

    def name(self, row: int) -> str:
        """File and row."""
        number, _ = self._place(row)
        file = self.groups[number][0]
        first = next(place for place, (each, *_) in enumerate(self.groups) if each == file)
        return f"{Path(str(self.files[file])).name}, row {row - (self.ends[first - 1] if first else 0)}"

    def digests(self) -> dict[str, str]:
        """Name of each file -> digest."""
        if self.system is None:
            return {str(file): file_digest(Path(file)) for file in self.files}
        return {str(file): short_digest(str(self.system.info(file)).encode()) for file in self.files}
