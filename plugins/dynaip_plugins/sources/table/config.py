"""Options of a table: which files, which column is what, which rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from dynaip.config import Strict
from dynaip_plugins.shared.filters import Filter
from dynaip_plugins.shared.targets import TargetsConfig


class PictureConfig(Strict):
    """A column that holds pictures: files' bytes, paths, or a part of a picture. A plain name is short for ``column``."""

    column: str
    """Name of the column; of a part of it with dots (``caption.img_path1``)."""
    crop: tuple[int, int, int, int] | None = None
    """left, top, right, bottom in pixels: the part that is meant of a picture that shows several side by side."""

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, given: Any) -> Any:
        return {"column": given} if isinstance(given, str) else given

    @field_validator("crop")
    @classmethod
    def _area(cls, crop: tuple[int, int, int, int] | None) -> tuple[int, int, int, int] | None:
        if crop is not None and not (0 <= crop[0] < crop[2] and 0 <= crop[1] < crop[3]):
            raise ValueError(f"left must be < right and top < bottom, from 0 up, not {list(crop)}")
        return crop


class ReferenceConfig(PictureConfig):
    """A column of references; a list in it gives several."""

    region: str | None = None
    """Column with where the subject is in the target: left, top, right, bottom in [0, 1], or a mask."""
    mask: str | None = None
    """Column with masks of where the subject is in the reference: the rest is trained on as white."""
    subject: str | None = None
    """Column with the subject's name."""


class TableConfig(TargetsConfig):
    """Which files, which column is what, which rows."""

    files: list[Path] | None = None
    """Tables (.parquet, .jsonl, .json, .csv, .tsv), also as patterns such as ``data/*.parquet``; all of one layout."""
    hub: str | None = None
    """Id of a data set on the hub instead of files; its parquet files are read."""
    split: str = "train"
    """Split of the hub's data set."""
    revision: str | None = None
    """Branch, tag or commit of it."""
    streaming: bool = False
    """Read row groups over the network when they are asked for, instead of downloading all files first."""
    root: Path | None = None
    """Folder that paths in the rows are relative to; None: that of the table."""
    target: PictureConfig = Field(default_factory=lambda: PictureConfig(column="target"))
    """Column of the targets."""
    references: list[ReferenceConfig] = Field(
        default_factory=lambda: [ReferenceConfig(column="reference")], min_length=1
    )
    """Columns of the references; one or a list."""
    prompt: str = "prompt"
    """Column of the prompts."""
    reverse_prompt: str | None = None
    """Column with prompts of the (first) reference: if given, every row gives a second pair, the other way round."""
    subject: str | None = None
    """Column with the subjects' names."""
    id: str | None = None
    """Column with the rows' ids; None: file and row."""
    where: str | None = None
    """Which rows, e.g. ``3.5 <= vlm.score <= 4 and kind in ("a", "b")``; a value that is missing or no number is out."""
    size_columns: tuple[str, str] | None = None
    """Columns with height and width of the target, which saves ``buckets`` a look into every picture."""

    @field_validator("files", mode="before")
    @classmethod
    def _files(cls, given: Any) -> Any:
        return [given] if isinstance(given, str | Path) else given

    @field_validator("references", mode="before")
    @classmethod
    def _references(cls, given: Any) -> Any:
        return [given] if isinstance(given, str | dict) else given

    @field_validator("where")
    @classmethod
    def _where(cls, where: str | None) -> str | None:
        if where is not None:
            Filter(where)
        return where

    @model_validator(mode="after")
    def _one_place(self) -> TableConfig:
        if (self.files is None) == (self.hub is None):
            raise ValueError("give either files, or hub")
        if self.streaming and self.hub is None:
            raise ValueError("streaming is for data sets of the hub")
        return self
