"""Small tables in and out; what cannot be read is empty."""

from __future__ import annotations

from pathlib import Path

from dynaip.reading import last_line, read_mapping, read_rows
from dynaip.report.tables import write_csv


def test_csv_gives_numbers_back(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", [{"arm": "a, b", "n": 3, "cp": 0.25}])
    assert read_rows(tmp_path / "a.csv") == [{"arm": "a, b", "n": 3, "cp": 0.25}]


def test_broken_and_missing_files_are_empty(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no")
    (tmp_path / "a.json").write_text("{")
    (tmp_path / "a.yaml").write_text("- a list")
    (tmp_path / "b.yaml").write_text("a: [")
    assert read_rows(tmp_path / "a.parquet") == []
    assert read_rows(tmp_path / "missing.csv") == []
    assert [read_mapping(tmp_path / name) for name in ("a.json", "a.yaml", "b.yaml", "c.json")] == [{}] * 4


def test_yaml_runs_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: !!python/object/apply:os.system ['true']")
    assert read_mapping(tmp_path / "a.yaml") == {}


def test_last_line(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("one\n  two  \n\n")
    assert last_line(tmp_path / "log.txt") == "two"
    assert last_line(tmp_path / "missing.txt") == ""
