"""Tables of effects against Student's test, and their text against readers of the formats."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.stats import ttest_rel

from dynaip.cli.app import main
from dynaip.errors import InputError
from dynaip.report.effects import effects
from dynaip.report.formats import as_text, to_latex


def rows(count: int = 40) -> list[dict[str, object]]:
    rng, found = np.random.default_rng(0), []
    hard = rng.uniform(0.2, 0.7, count)
    for arm, gain in (("base", 0.0), ("much_better", 0.1), ("same", 0.0)):
        cp = hard + gain + rng.normal(0, 0.02, count)
        found += [
            {"arm": arm, "seed": 0, "suite": "s", "case": str(k), "cp": cp[k], "pf": 0.9 - 0.2 * cp[k]}
            for k in range(count)
        ]
    return found


def test_differences_are_students_and_adjusted() -> None:
    found = {(each.metric, each.arm): each for each in effects(rows(), margin=0.02)}
    table = pd.DataFrame(rows()).pivot(index="case", columns="arm", values="cp")
    better, same = found["cp", "much_better"], found["cp", "same"]
    truth = ttest_rel(table["much_better"], table["base"])
    low, high = truth.confidence_interval()
    assert better.difference == pytest.approx((table["much_better"] - table["base"]).mean())
    assert (better.difference_low, better.difference_high) == (
        pytest.approx(low, abs=1e-3),
        pytest.approx(high, abs=1e-3),
    )
    assert same.p == pytest.approx(ttest_rel(table["same"], table["base"]).pvalue, abs=0.02)
    assert better.verdict == "higher" and same.verdict == "equivalent" and found["pf", "much_better"].verdict == "lower"
    assert all(each.p_holm >= each.p for each in found.values() if each.against)
    assert found["cp", "base"].against == "" and np.isnan(found["cp", "base"].difference)


def test_products_both_ways() -> None:
    """DreamBench++'s product of means, and the mean of products, which differ where CP and PF do not go together."""
    frame = pd.DataFrame(rows())
    own = frame[frame.arm == "base"]
    found = {each.metric: each.value for each in effects(rows()) if each.arm == "base"}
    assert found["cp_pf"] == pytest.approx(own.cp.mean() * own.pf.mean())
    assert found["mean_cp_pf"] == pytest.approx((own.cp * own.pf).mean())
    assert abs(found["cp_pf"] - found["mean_cp_pf"]) > 1e-3


def test_formats() -> None:
    found = effects(rows(), metrics=["cp"])
    read = list(csv.DictReader(io.StringIO(as_text(found, "csv"))))
    assert [float(row["value"]) for row in read] == [each.value for each in found]
    assert read[0]["difference"] == ""
    markdown = as_text(found, "markdown").splitlines()
    assert len({line.count("|") for line in markdown[:5]}) == 1 and "Holm" in markdown[-1]
    latex = to_latex(found)
    assert r"much\_better" in latex and "much_better" not in latex.partition("%")[0]
    lines = [line for line in latex.splitlines() if line.endswith(r"\\")]
    assert {line.count("&") for line in lines} == {7}
    with pytest.raises(InputError, match="choose one of csv, markdown, latex"):
        as_text(found, "excel")
    with pytest.raises(InputError, match=r"no metric cpp.*Did you mean cp"):
        effects(rows(), metrics=["cpp"])


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two seeds of one arm stand together against another arm."""
    frame = pd.DataFrame(rows())
    for name, arm, fusion, seed in (("a0", "base", "x", 0), ("a1", "same", "x", 1), ("b0", "much_better", "y", 0)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.yaml").write_text(yaml.safe_dump({"fusion": fusion, "training": {"seed": seed}}))
        frame[frame.arm == arm].drop(columns="arm").to_parquet(folder / "scores.parquet")
    runs = [str(tmp_path / name) for name in ("a0", "a1", "b0")]
    assert main(["compare", *runs, "--format", "csv", "--metric", "cp"]) == 0
    read = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["arm"], row["seeds"]) for row in read] == [("a0", "2"), ("b0", "1")]
    assert main(["compare", *runs, "--format", "latex", "--margin", "0.5"]) == 0
    assert "equivalent" in capsys.readouterr().out
    read_errors: list[str] = []
    own = frame[frame.arm == "base"].drop(columns="arm")
    (tmp_path / "subjects.csv").write_text(
        "case,subject\n" + "".join(f"{k},s\n" for k in range(30)), encoding="utf-8-sig"
    )
    for change in (own.assign(cp="high")[:25], pd.concat([own, own[:5]]), frame):
        change.to_parquet(tmp_path / "b0" / "scores.parquet")
        main(["compare", *runs, "--format", "markdown", "--subjects", str(tmp_path / "subjects.csv")])
        read_errors.append(capsys.readouterr().err)
    assert "s: b0 has no numbers in cp, cp_pf, mean_cp_pf, which other arms have" in read_errors[0]
    assert "s: b0 and a0 share 25 of 40 cases: their difference is over these" in read_errors[0]
    assert "10 of 40 cases are not in it, 30 for one: each counts as a subject of its own" in read_errors[0]
    assert "has 5 cases more than once, 0 for one" in read_errors[1]
    assert "holds 3 arms: name their folders" in read_errors[2] and "b0/arms/base for one" in read_errors[2]
    (tmp_path / "b0" / "scores.parquet").unlink()
    assert main(["compare", *runs, "--format", "csv"]) == 2
    assert "has no scores: dynaip evaluate" in capsys.readouterr().err
