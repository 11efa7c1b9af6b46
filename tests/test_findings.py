"""The tables of the page of findings are what the scores beside it give, and those are what ablations wrote."""

from __future__ import annotations

import csv
import gzip
import re
from collections import defaultdict
from pathlib import Path
from statistics import fmean

import numpy as np
import pandas as pd
import pytest
import yaml

from dynaip_site import findings
from dynaip_site.findings import Gaps, Means, Scores, number
from dynaip_site.findings_tables import TABLES

PAGE = findings.PAGE.read_text(encoding="utf-8")


def rows_of(name: str) -> list[dict[str, str]]:
    """The scores as any reader of CSV finds them."""
    with gzip.open(findings.DATA / f"{name}.csv.gz", "rt", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def lines_of(name: str) -> list[list[str]]:
    """The cells of a table as the page shows it, without its head."""
    text = re.search(rf"<!-- table: {name} -->\n(.*?)<!-- end of table -->", PAGE, re.DOTALL)
    assert text, f"the page has no table {name}"
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text[1].strip().splitlines()[2:]]


def figure(text: str) -> float:
    """A number as the page writes it."""
    return float(text.replace("−", "-"))


def test_every_table_is_on_the_page_and_stands_there_as_it_is_made() -> None:
    assert set(re.findall(r"<!-- table: ([\w-]+) -->", PAGE)) == set(TABLES)
    assert findings.made(PAGE, TABLES) == PAGE, "python -m dynaip_site.findings writes the tables again"


@pytest.mark.parametrize("name", [name for name, table in TABLES.items() if isinstance(table, Means)])
def test_cells_are_plain_means_over_seeds_and_cases(name: str) -> None:
    table = TABLES[name]
    assert isinstance(table, Means)
    found = defaultdict(list)
    for row in rows_of(table.data):
        for column in table.columns:
            if value := row[findings.COLUMNS[column]]:
                found[row["arm"], row["suite"], column].append(float(value))
    for line, arm in zip(lines_of(name), table.arms.values(), strict=True):
        for cell, column in zip(line[1:], table.columns, strict=True):
            expected = [fmean(found[arm, suite, column]) for suite in table.suites]
            assert [figure(each) for each in cell.split(" / ")] == pytest.approx(expected, abs=0.0051)


@pytest.mark.parametrize("name", [name for name, table in TABLES.items() if isinstance(table, Gaps)])
def test_differences_are_differences_of_means_and_lie_within_their_intervals(name: str) -> None:
    table = TABLES[name]
    assert isinstance(table, Gaps)
    rows = rows_of(table.data)

    def mean(arm: str, suite: str, metric: str) -> float:
        return fmean(float(row[metric]) for row in rows if row["arm"] == arm and row["suite"] == suite)

    lines = iter(lines_of(name))
    for _, one, other in table.pairs:
        for suite in table.suites:
            for cell, column in zip(next(lines)[2:], table.columns, strict=True):
                found = re.fullmatch(r"\**([^*]+?)\** \[(.+), (.+)\]", cell)
                assert found
                value, low, high = map(figure, found.groups())
                metric = findings.COLUMNS[column]
                assert value == pytest.approx(mean(one, suite, metric) - mean(other, suite, metric), abs=0.0051)
                assert low <= value <= high
                assert cell.startswith("**") <= (low * high > 0)


@pytest.mark.parametrize("name", sorted({table.data for table in TABLES.values()}))
def test_three_seeds_of_every_arm_that_was_trained(name: str) -> None:
    seeds = defaultdict(set)
    for row in rows_of(name):
        seeds[row["arm"]].add(row["seed"])
    assert {len(found) for arm, found in seeds.items() if arm != "base"} == {3}


def test_an_interval_holds_the_chance_of_seeds() -> None:
    """Two arms that differ in every case by as much as the seed says: only drawing seeds again can tell."""
    rows = [
        {"arm": arm, "seed": seed, "suite": "single", "case": case, "cp": (arm == "a") * shift + case / 100}
        for arm in "ab"
        for seed, shift in enumerate((0.1, 0.2, 0.3))
        for case in range(20)
    ]
    gap = Scores(pd.DataFrame(rows)).gap("a", "b", "single", "cp")
    students = 4.302653 * np.std([0.1, 0.2, 0.3], ddof=1) / 3**0.5
    assert gap.value == pytest.approx(0.2)
    assert (gap.high - gap.low) / 2 == pytest.approx(students, rel=0.05)


def test_scores_are_taken_from_an_ablation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arms = [{"name": "a", "folder": "a-1", "seed": 0}, {"name": "a", "folder": "a-2", "seed": 1}]
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump({"arms": arms}))
    for number_, arm in enumerate(arms):
        folder = tmp_path / "arms" / arm["folder"]
        folder.mkdir(parents=True)
        pd.DataFrame(
            {"case": ["x"], "suite": ["single"], "seed": [77], "cp": [0.25 + number_], "more": [1]}
        ).to_parquet(folder / "scores.parquet")
    monkeypatch.setattr(findings, "DATA", tmp_path / "kept")
    findings.keep(tmp_path, "it")
    assert rows_of("it") == [
        {"arm": "a", "seed": str(seed), "suite": "single", "case": "x", "cp": str(0.25 + seed)} for seed in (0, 1)
    ]


@pytest.mark.parametrize(
    ("value", "text"), [(0.371, ".37"), (-0.0649, "−.06"), (1.0, "1"), (0.001, "0"), (-0.004, "0"), (12.5, "12.50")]
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text
