"""Tables that leave the page hold the same figures, and nothing in them is taken for a command or a formula."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from dynaip.ablation.statistics import Estimate
from dynaip.report.exports import ReportTable, write_tables

ODD = "=1+1 | \\input{x} $a_b$ & 50% <b>\x1b[31m"
TABLE = ReportTable(
    "arms/../x", ODD, ("arm", "CP·PF", "cases"), (("b", None, 3), (ODD, Estimate(-0.5, -0.6, -0.4, 9), 1200))
)


def test_every_table_is_written_three_times(tmp_path: Path) -> None:
    paths = write_tables(tmp_path, [TABLE, TABLE])
    assert len(set(paths)) == 6 and all(path.parent == tmp_path / "tables" and path.is_file() for path in paths)


def test_csv_has_the_ends_of_intervals_in_columns_of_their_own(tmp_path: Path) -> None:
    path = write_tables(tmp_path, [TABLE])[0]
    lacking, first = csv.DictReader(path.open(encoding="utf-8"))
    assert lacking["CP·PF"] == lacking["CP·PF low"] == ""
    assert [float(first[name]) for name in ("CP·PF", "CP·PF low", "CP·PF high")] == [-0.5, -0.6, -0.4]
    assert first["arm"].startswith("'=")


def test_markdown_keeps_its_columns() -> None:
    lines = [line for line in TABLE.markdown().splitlines() if line.startswith("| ")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {4}
    assert "−0.500 (−0.600 to −0.400)" in lines[3] and "\x1b" not in lines[3]


def test_latex_holds_no_command_of_others() -> None:
    text = TABLE.latex()
    assert "\\input" not in text and "\x1b" not in text
    row = next(line for line in text.splitlines() if line.startswith("=1"))
    assert len(re.findall(r"(?<!\\)&", row)) == 2
    assert not re.search(r"(?<![\\])[%#]", row)


def test_latex_stands_words_to_the_left_and_figures_to_the_right() -> None:
    table = ReportTable("x", "x", ("arm", "verdict", "p", "cases"), (("b", "higher", 0.01, 3), ("c", "open", None, 3)))
    assert "\\begin{tabular}{llrr}" in table.latex()
