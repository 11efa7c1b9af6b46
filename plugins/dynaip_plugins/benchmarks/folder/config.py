"""Options of a benchmark of one's own."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ..copies import CopyConfig


class FolderConfig(CopyConfig):
    """Which table."""

    folder: str
    """Folder with the table and its pictures, or the hub id of a data set."""
    table: str | None = None
    """Name of the table (csv, json, jsonl or parquet); None takes the only one there is."""
    size: tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]] | None = None
    """Height and width of what is painted where the table does not say; None leaves it to the base."""
