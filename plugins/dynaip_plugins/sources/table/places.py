"""Which files a table is: local ones by name or pattern, or those of a data set on the hub."""

from __future__ import annotations

import glob
from pathlib import Path

from dynaip.errors import InputError
from dynaip.paths import missing
from dynaip.suggest import one_line

from .config import TableConfig
from .parquet import ParquetRows
from .rows import Rows, TextRows

TEXT = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")


def open_rows(config: TableConfig, columns: list[str]) -> Rows:
    """The rows of a config's files; ``InputError`` if there is none, or files that are no tables."""
    if config.hub is not None:
        return _of_hub(config, config.hub, columns)
    files = [path for pattern in config.files or () for path in _matching(pattern)]
    kinds = {file.suffix for file in files}
    if kinds == {".parquet"}:
        return ParquetRows(files, columns)
    if other := kinds - {*TEXT}:
        known = "a table of parquet files has no others beside them" if ".parquet" in kinds else ", ".join(TEXT)
        raise InputError(f"source.files: {', '.join(sorted(other))}: tables are .parquet, or {known}")
    return TextRows(files)


def _matching(pattern: Path) -> list[Path]:
    if pattern.is_file():
        return [pattern]
    found = sorted(Path(each) for each in glob.glob(str(pattern), recursive=True) if Path(each).is_file())
    if not found:
        hint = " It is a folder: name files in it, such as *.parquet." if pattern.is_dir() else missing(pattern)
        raise InputError(f"source.files: {pattern}: there is no such file.{hint}")
    return found


def _of_hub(config: TableConfig, hub: str, columns: list[str]) -> ParquetRows:
    from huggingface_hub import HfFileSystem, hf_hub_download

    root = f"datasets/{hub}" + (f"@{config.revision}" if config.revision else "")
    try:
        system = HfFileSystem()
        files = [file for file in sorted(system.glob(f"{root}/**/*.parquet")) if _of_split(file, config.split)]
        if not files:
            raise InputError(
                f"source.hub: {hub} holds no parquet file of the split {config.split}: name another source.split, or "
                "source.revision: refs/convert/parquet"
            )
        if config.streaming:
            return ParquetRows(files, columns, system)
        names = [file.removeprefix(f"{root}/") for file in files]
        local = [hf_hub_download(hub, name, repo_type="dataset", revision=config.revision) for name in names]
    except InputError:
        raise
    except Exception as error:  # whatever the hub's client raises: no network, no such repository, no access
        raise InputError(f"source.hub: {hub} cannot be read ({one_line(error)})") from error
    return ParquetRows([Path(each) for each in local], columns)


def _of_split(file: str, split: str) -> bool:
    """Whether a file's name or its folder begins with the split's name."""
    *_, folder, name = ("", *file.split("/"))
    return name.startswith(split) or folder == split
