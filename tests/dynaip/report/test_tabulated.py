"""The report's tables: effects by hand from the arms' own means, attributes apart, cost beside quality."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from dynaip.report.build import page_values
from dynaip.report.directory import AblationDirectory
from dynaip.report.exports import ReportTable
from dynaip.report.view import suites


@pytest.fixture(scope="module")
def tables(finished: Path) -> dict[str, ReportTable]:
    ablation = AblationDirectory.read(finished)
    return {table.name: table for table in page_values(ablation, suites(ablation), [])["exports"]}


def test_main_effects_are_those_of_the_scores(finished: Path, tables: dict[str, ReportTable]) -> None:
    means: dict[str, float] = {}
    for folder in (finished / "arms").glob("*-*-0123456789ab"):
        scores = pd.read_parquet(folder / "scores.parquet").query("suite == 'multi2'")
        means[folder.name.rpartition("-")[0]] = scores["cp"].mean() * scores["pf"].mean()
    (row,) = [row for row in tables["effects"].rows if row[:3] == ("fusion", "hmoe − concat", "multi2")]
    by_hand = sum(means[f"hmoe-{it}"] - means[f"concat-{it}"] for it in ("dynamic", "coupled")) / 2
    assert row[3].value == pytest.approx(by_hand)
    assert row[5] == "higher"


def test_what_an_axis_lets_leak_is_told_where_it_is_clear(
    finished: Path, tables: dict[str, ReportTable], tmp_path: Path
) -> None:
    assert {row[5] for row in tables["effects-leak"].rows} == {"not told apart"}  # drawn by chance
    copied = tmp_path / "copied"
    shutil.copytree(finished, copied)
    means: dict[str, float] = {}
    for path in copied.glob("arms/*-*-0123456789ab/scores.parquet"):
        scores, arm = pd.read_parquet(path), path.parent.name.rpartition("-")[0]
        scores["leak"] += 0.4 * arm.endswith("-coupled")
        scores.to_parquet(path)
        means[arm] = scores.query("suite == 'single'")["leak"].mean()
    ablation = AblationDirectory.read(copied)
    values = page_values(ablation, suites(ablation), [])
    made = {table.name: table for table in values["exports"]}
    (row,) = [row for row in made["effects-leak"].rows if row[:3] == ("decoupling", "dynamic − coupled", "single")]
    by_hand = sum(means[f"{it}-dynamic"] - means[f"{it}-coupled"] for it in ("hmoe", "concat")) / 2
    assert row[3].value == pytest.approx(by_hand)
    told = [sentence for sentence in values["effects"] if "leak" in sentence]
    assert [each.partition(" in every suite")[0] for each in told] == [
        "decoupling: dynamic instead of coupled lowers leak"
    ]


def test_attributes_have_a_table_of_their_own(tables: dict[str, ReportTable]) -> None:
    assert tables["attributes-single"].columns == ("arm", "cp_emblem")
    assert "cp_emblem" not in tables["arms-single"].columns and "leak" in tables["arms-single"].columns


def test_cost_stands_beside_quality(tables: dict[str, ReportTable]) -> None:
    row = dict(zip(tables["cost"].columns, tables["cost"].rows[0], strict=True))
    assert row["evaluation, hours"] == pytest.approx(61 / 3600)
    assert (row["peak memory, GB"], row["on"]) == (1.5, "cpu")
    assert row["CP·PF single"].value > 0


def test_effects_stand_before_arms(finished: Path, html: str) -> None:
    places = [
        html.index(each) for each in ("fusion: hmoe instead of concat raises CP·PF", "<b>Arms.</b>", 'id="table"')
    ]
    assert places == sorted(places)
    assert (finished / "tables" / "effects.tex").is_file()
