"""Pairs of a table: rows that pass its filter, with their pictures read when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dynaip.contracts import Pair, PairReference, PairSource
from dynaip.errors import BadSample, InputError
from dynaip.images import read_picture
from dynaip.images.buckets import Size
from dynaip.images.files import MAX_PIXELS, open_bytes, open_file
from dynaip.notes import tell
from dynaip.suggest import did_you_mean
from dynaip_plugins.shared.filters import MISSING, Filter, value_at
from dynaip_plugins.shared.pictures import found, inside, picture_sizes
from dynaip_plugins.shared.remembered import remembered
from dynaip_plugins.shared.targets import Targets, moved

from .config import PictureConfig, ReferenceConfig, TableConfig
from .places import open_rows
from .rows import Row


class TablePairs(PairSource):
    """A pair for every row that passes the filter, or two where both directions are trained."""

    def __init__(self, config: TableConfig) -> None:
        self.config, self.targets = config, Targets(config)
        self.filter = Filter(config.where) if config.where else None
        self.rows = open_rows(config, [*self._columns(), *(self.filter.columns if self.filter else ())])
        if not len(self.rows):
            raise InputError("source: the table holds no row")
        self._check_columns()
        kept = self._kept()
        self.chosen, self.twice = kept["rows"], set(kept["twice"].tolist())
        if not len(self.chosen):
            raise InputError(f"source.where: none of {len(self.rows)} rows fulfils {config.where}")
        if self.twice:
            tell(
                f"source.id: {len(self.twice)} rows have the id of another row: theirs get the row's number", kind="ids"
            )
        self.ways = 2 if config.reverse_prompt else 1
        self.root = config.root or Path(str(self.rows.files[0])).parent

    def __len__(self) -> int:
        return len(self.chosen) * self.ways

    def __getitem__(self, index: int) -> Pair:
        """Read one pair; ``BadSample`` with file and row if it cannot be used."""
        row, reverse = self._row(index)
        try:
            return self._pair(row, self.rows[row], reverse=reverse)
        except InputError as error:
            raise BadSample(f"{self.rows.name(row)}: {error}") from error

    def kin(self, index: int) -> range:
        """Both directions of the row."""
        first = index - index % self.ways
        return range(first, first + self.ways)

    def name(self, index: int) -> str:
        """File and row."""
        return self.rows.name(self._row(index)[0])

    def sizes(self) -> list[Size] | None:
        """The bucket of every target; None where all take one size."""
        if not self.targets.bucketed:
            return None
        chosen = self.targets.choose(self.picture_sizes())
        return [self.targets.sizes[number] for number in chosen]

    def blocks(self) -> list[int] | None:
        """Pairs of each row group."""
        blocks = self.rows.blocks()
        if blocks is None:
            return None
        counts = np.diff(np.searchsorted(self.chosen, np.cumsum([0, *blocks])))
        return [int(count) * self.ways for count in counts if count]

    def fingerprint(self) -> Mapping[str, Mapping[str, str]]:
        """Digests of the files, and the number of rows that are used."""
        files = {name: {"content": digest} for name, digest in self.rows.digests().items()}
        return {**files, "rows": {"used": str(len(self.chosen)), "of": str(len(self.rows))}}

    # -- which rows ------------------------------------------------------------------------------------------------------

    def _row(self, index: int) -> tuple[int, bool]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return int(self.chosen[index // self.ways]), bool(index % self.ways)

    def _columns(self) -> list[str]:
        config = self.config
        pictures = [config.target.column, *(each.column for each in config.references)]
        more = [name for each in config.references for name in (each.region, each.mask, each.subject)]
        texts = [config.prompt, config.reverse_prompt, config.subject, config.id, *(config.size_columns or ())]
        return [name for name in (*pictures, *more, *texts) if name is not None]

    def _check_columns(self) -> None:
        """Refuse names of columns that no row has."""
        needed = dict.fromkeys([*self._columns(), *(self.filter.columns if self.filter else ())])
        known: dict[str, None] = dict.fromkeys(self.rows.names or ())
        for row in self.rows.scan([]) if self.rows.names is None else ():
            known |= dict.fromkeys(_names(row or {}))
            if all(name in known for name in needed):
                break
        for name in needed:
            if name not in known and (self.rows.names is None or name.split(".")[0] not in known):
                told = ", ".join(sorted(known))
                raise InputError(f"source: the table has no column {name}.{did_you_mean(name, known)} Columns: {told}.")

    def _kept(self) -> Mapping[str, NDArray[np.int64]]:
        """The rows that pass the filter, and those of them whose id another row has; rows that are none are kept.

        What is kept of a row that cannot be read is its place: it is quarantined by name.
        """
        if self.filter is None and self.config.id is None:
            return {"rows": np.arange(len(self.rows)), "twice": np.zeros(0, dtype=np.int64)}
        key = [self.rows.digests(), self.config.where, self.config.id]
        return cast("Mapping[str, NDArray[np.int64]]", remembered("kept", key, self._scan))

    def _scan(self) -> dict[str, NDArray[np.int64]]:
        column = self.config.id
        asked = [*(self.filter.columns if self.filter else ()), *([column] if column else ())]
        rows, ids = list[int](), list[int]()
        for number, row in enumerate(self.rows.scan(asked)):
            if row is None or self.filter is None or self.filter(row):
                rows.append(number)
                if column:
                    ids.append(hash(str(value_at(row, column))) if row else number)
        where = np.array(rows, dtype=np.int64)
        if not column:
            return {"rows": where, "twice": np.zeros(0, dtype=np.int64)}
        _, inverse, counts = np.unique(np.array(ids, dtype=np.int64), return_inverse=True, return_counts=True)
        return {"rows": where, "twice": where[counts[inverse] > 1]}

    # -- what a row holds ------------------------------------------------------------------------------------------------

    def _pair(self, row: int, data: Row, *, reverse: bool) -> Pair:
        config = self.config
        prompt = _text(data, config.reverse_prompt if reverse and config.reverse_prompt else config.prompt)
        subject = _text(data, config.subject, needed=False) if config.subject else ""
        references = [each for one in config.references for each in self._references(data, one, subject)]
        if not references:
            names = ", ".join(each.column for each in config.references)
            raise InputError(f"it has no reference ({names})")
        target = self._picture(data, config.target)
        if reverse:
            target, references = references[0].image, [PairReference(target, subject=subject)]
        fitted = self.targets.fitted(target, f"the target of {self.rows.name(row)}")
        placed = [each for each in (moved(one, fitted) for one in references) if each is not None]
        if not placed:
            raise InputError("no region of a reference lies in what is left of the target: set source.fit to pad")
        return Pair.of(self._id(row, data, reverse=reverse), placed, fitted.image, prompt, subject)

    def _id(self, row: int, data: Row, *, reverse: bool) -> str:
        way = ":reverse" if reverse else ""
        if self.config.id is None:
            return self.rows.name(row) + way
        value = value_at(data, self.config.id)
        return f"{'' if value is MISSING or value is None else value}" + (f"#{row}" if row in self.twice else "") + way

    def _references(self, data: Row, config: ReferenceConfig, subject: str) -> Iterator[PairReference]:
        given = value_at(data, config.column)
        values = given if isinstance(given, list) else [given]
        values = [value for value in values if value is not None and value is not MISSING and value != ""]
        regions, masks = (_beside(data, name, len(values)) for name in (config.region, config.mask))
        named = _text(data, config.subject, needed=False) if config.subject else subject
        for value, region, mask in zip(values, regions, masks, strict=True):
            image = _cropped(read_picture(self._content(value, config.column)), config)
            yield PairReference(
                image,
                None if region is None else self._region(region, f"{config.region}"),
                None if mask is None else self._mask(mask, config),
                named,
            )

    def _picture(self, data: Row, config: PictureConfig) -> Image.Image:
        value = value_at(data, config.column)
        if value is MISSING or value is None or value == "":
            raise InputError(f"{config.column} is empty")
        return _cropped(read_picture(self._content(value, config.column)), config)

    def _content(self, value: Any, column: str) -> bytes | Path:
        """A picture's bytes, or the path of its file."""
        if isinstance(value, dict):
            data, path = value.get("bytes"), value.get("path")
            value = data if isinstance(data, bytes) else path
        if isinstance(value, bytes):
            return value
        if not isinstance(value, str) or not value:
            raise InputError(f"{column} must be a picture's path or its bytes, not {type(value).__name__}")
        return found(inside(self.root, value, column))

    def _region(self, value: Any, column: str) -> Any:
        if isinstance(value, list):
            edges = [float(each) for each in value if isinstance(each, int | float)]
            inside_it = (
                len(edges) == len(value) == 4 and 0 <= edges[0] < edges[2] <= 1 and 0 <= edges[1] < edges[3] <= 1
            )
            if not inside_it:
                raise InputError(f"{column} must be left, top, right, bottom within 0 and 1, not {value}")
            return tuple(edges)
        return self._plain(value, column)

    def _mask(self, value: Any, config: ReferenceConfig) -> Image.Image:
        return _cropped(self._plain(value, f"{config.mask}"), config)

    def _plain(self, value: Any, column: str) -> Image.Image:
        """A mask in the mode of its file."""
        content = self._content(value, column)
        return open_bytes(content, column, MAX_PIXELS) if isinstance(content, bytes) else open_file(content, MAX_PIXELS)

    # -- sizes, before anything is decoded ---------------------------------------------------------------------------------

    def picture_sizes(self) -> NDArray[np.int64]:
        """(height, width) of what each target is fitted from: the crop's, the columns', or read from the pictures' headers."""
        ways = [self._sizes(self.config.target, self.config.size_columns)]
        if self.ways == 2:
            ways.append(self._sizes(self.config.references[0], None))
        return np.stack(ways, 1).reshape(-1, 2)

    def _sizes(self, config: PictureConfig, columns: tuple[str, str] | None) -> NDArray[np.int64]:
        if config.crop is not None:
            left, top, right, bottom = config.crop
            return np.tile(np.array([bottom - top, right - left], dtype=np.int64), (len(self.chosen), 1))
        key = [self.rows.digests(), self.config.where, config.column, columns, str(self.root)]
        return remembered("sizes", key, lambda: {"sizes": self._looked_up(config, columns)})["sizes"]

    def _looked_up(self, config: PictureConfig, columns: tuple[str, str] | None) -> NDArray[np.int64]:
        asked, chosen = list(columns or (config.column,)), set(self.chosen.tolist())
        rows = (row or {} for number, row in enumerate(self.rows.scan(asked)) if number in chosen)
        if columns is not None:
            return np.array([[_whole(value_at(row, name)) for name in columns] for row in rows], dtype=np.int64)
        return picture_sizes(self._header(row, config.column) for row in rows)

    def _header(self, row: Row, column: str) -> bytes | Path | None:
        value = value_at(row, column)
        try:
            return self._content(value[0] if isinstance(value, list) and value else value, column)
        except InputError:
            return None


def _names(row: Row, before: str = "") -> Iterator[str]:
    for name, value in row.items():
        yield f"{before}{name}"
        if isinstance(value, dict):
            yield from _names(value, f"{before}{name}.")


def _text(data: Row, column: str, *, needed: bool = True) -> str:
    value = value_at(data, column)
    if isinstance(value, str) and value.strip():
        return value
    if not needed and (value is None or value is MISSING or value == ""):
        return ""
    raise InputError(f"{column} must be a text that is not empty")


def _beside(data: Row, column: str | None, count: int) -> list[Any]:
    """One value for each of ``count`` references: from a list of as many, or the only one."""
    value = None if column is None else value_at(data, column)
    if value is None or value is MISSING:
        return [None] * count
    several = isinstance(value, list) and not (len(value) == 4 and all(isinstance(each, int | float) for each in value))
    values = value if several else [value]
    if len(values) != count:
        raise InputError(f"{column} has {len(values)} entries for {count} references")
    return values


def _cropped(image: Image.Image, config: PictureConfig) -> Image.Image:
    if config.crop is None:
        return image
    if config.crop[2] > image.width or config.crop[3] > image.height:
        raise InputError(
            f"{config.column} has {image.width} x {image.height} pixels, and the crop {list(config.crop)} lies beyond them"
        )
    return image.crop(config.crop)


def _whole(value: Any) -> int:
    try:
        return int(float(value))
    except (TypeError, ValueError, OverflowError):
        return 0
