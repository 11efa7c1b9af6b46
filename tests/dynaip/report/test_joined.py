"""Several ablations in one report: effects across them, names that clash told apart, other cases refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dynaip.cli.app import main
from dynaip.errors import InputError
from dynaip.report.build import page_values
from dynaip.report.joined import join
from dynaip.report.view import suites


@pytest.fixture
def halves(finished: Path, tmp_path: Path) -> tuple[Path, Path]:
    """The same ablation twice: one has lost its concat arms, the other its hmoe arms."""
    paths = tmp_path / "one", tmp_path / "other"
    for path, lost in zip(paths, ("concat", "hmoe"), strict=True):
        shutil.copytree(finished, path)
        plan = (path / "plan.yaml").read_text()
        (path / "plan.yaml").write_text(plan.replace("name: demo", f"name: {path.name}", 1))
        for folder in (path / "arms").glob(f"{lost}-*"):
            shutil.rmtree(folder)
    return paths


def test_effects_reach_across_ablations(halves: tuple[Path, Path], finished: Path, tmp_path: Path) -> None:
    joined = join(halves, tmp_path)
    found = {table.name: table for table in page_values(joined, suites(joined), [])["exports"]}
    row = next(row for row in found["effects"].rows if row[:3] == ("fusion", "hmoe − concat", "single"))
    assert row[5] == "higher" and row[8] == 2
    assert [arm.name for arm in joined.arms if arm.baseline] == ["base", "microworld"]


def test_the_page_of_several_goes_to_a_place_of_its_own(
    halves: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    before = {path: path.stat().st_mtime_ns for half in halves for path in half.rglob("*")}
    assert main(["report", *map(str, halves)]) == 0
    assert "wrote report-one-other/report.html" in capsys.readouterr().out
    page = Path("report-one-other/report.html").read_text(encoding="utf-8")
    assert "one and other" in page and "hmoe-dynamic (one)" in page
    assert before == {path: path.stat().st_mtime_ns for half in halves for path in half.rglob("*")}


def test_other_cases_are_refused(halves: tuple[Path, Path], tmp_path: Path) -> None:
    one, other = halves
    import pandas as pd

    table = pd.read_parquet(other / "cases" / "cases.parquet")
    table.assign(prompt="another").to_parquet(other / "cases" / "cases.parquet")
    with pytest.raises(InputError, match="were judged on other cases: single-000 of single"):
        join([one, other], tmp_path)
    table.assign(case=table["case"] + "x").to_parquet(other / "cases" / "cases.parquet")
    with pytest.raises(InputError, match="share no case"):
        join([one, other], tmp_path)


def test_an_arm_has_no_tiles_in_a_suite_that_it_was_never_asked(halves: tuple[Path, Path], tmp_path: Path) -> None:
    one, other = halves
    import pandas as pd

    table = pd.read_parquet(other / "cases" / "cases.parquet")
    lost = set(table[table["suite"] == "multi2"]["case"])
    table[~table["case"].isin(lost)].to_parquet(other / "cases" / "cases.parquet")
    for path in (other / "arms").glob("*/scores.parquet"):
        rows = pd.read_parquet(path)
        rows[rows["suite"] != "multi2"].to_parquet(path)
    for path in (other / "arms").glob("*/samples/*"):
        if path.stem in lost:
            shutil.rmtree(path)
    joined = join([one, other], tmp_path)
    gallery = page_values(joined, suites(joined), [])["gallery"]
    shown = {suite: {tile.arm for strip in strips for tile in strip.tiles} for suite, strips in gallery.items()}
    assert {name for name in shown["single"] if name.startswith("concat")}
    assert shown["multi2"] and not {name for name in shown["multi2"] if name.startswith("concat")}
    assert all(tile.image for strips in gallery.values() for strip in strips for tile in strip.tiles)
