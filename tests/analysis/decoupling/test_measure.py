"""Branches compared on the same cases."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dynaip.ablation.statistics import Estimate
from dynaip.contracts import Case, CaseReference
from dynaip_analysis.decoupling import figures, measure


def comparison() -> measure.Comparison:
    rng = np.random.default_rng(0)
    hard = rng.normal(0, 0.1, size=60)
    means = {"neither": 0.1, "image branch": 0.6, "text branch": 0.3, "both branches": 0.5}
    scores = [
        {
            "branch": name,
            "suite": "single",
            "case": f"c{k}",
            "cp": mean + hard[k],
            "pf": 0.9,
            "leak": float(rng.normal(0, 0.1)),
        }
        for name, mean in means.items()
        for k in range(60)
    ]
    picture = Image.new("RGB", (16, 16), "teal")
    cases = [Case(f"c{k}", "single", "a red mug", (CaseReference(picture),), k) for k in range(3)]
    return measure.Comparison(cases, {name: [picture] * 3 for name in means}, scores)


def test_paired_differences_to_both_branches() -> None:
    rows = {(row["branch"], row["metric"]): row for row in measure.differences(comparison().scores)}
    found = rows["image branch", "cp"]
    assert found["difference"] == pytest.approx(0.1)
    assert found["difference_low"] == pytest.approx(0.1)
    assert rows["both branches", "leak"]["difference"] == 0
    assert found["cases"] == 60


def test_an_adapter_of_one_branch_is_compared_with_no_reference() -> None:
    attention = SimpleNamespace(serves=lambda branch: branch == "image")
    assert list(measure.served(SimpleNamespace(attention=attention))) == ["neither", "image branch"]
    whole = SimpleNamespace(serves=lambda branch: True)
    assert measure.served(SimpleNamespace(attention=whole)) == measure.POLICIES
    scores = [row for row in comparison().scores if row["branch"] in ("neither", "image branch")]
    rows = {(row["branch"], row["metric"]): row for row in measure.differences(scores)}
    assert rows["image branch", "cp"]["difference"] == pytest.approx(0.5)


def test_figures_and_their_tables(tmp_path: Path) -> None:
    path = figures.draw(tmp_path / "branches.png", comparison())
    assert path.stat().st_size > 4000
    assert len(pq.read_table(path.with_suffix(".parquet"))) == 12
    path = figures.draw_strip(tmp_path / "strip.png", comparison())
    assert path.stat().st_size > 2000
    first = pq.read_table(path.with_suffix(".parquet")).to_pylist()[0]
    assert (first["branch"], first["case"], first["prompt"], first["pf"]) == ("neither", "c0", "a red mug", 0.9)


def test_the_statement_and_the_scales_follow_from_the_table() -> None:
    """Small differences near 1 are not blown up: CP and PF keep the scale from 0 to 1, leak has chance in the middle."""
    table = measure.differences(comparison().scores)
    means = {row["branch"]: row["value"] for row in table if row["metric"] == "cp"}
    assert f"{means['text branch']:.2f} through the text branch" in figures._kept(table)
    assert f"{means['neither']:.2f} without a reference" in figures._kept(table)
    told = figures.against_both(table).replace("\u00a0", " ")
    assert told.startswith("Image branch alone minus both branches: CP +0.10 [+0.10, +0.10], PF +0.00")
    assert figures.against_both([row for row in table if row["branch"] != "both branches"]) == ""
    assert figures._range("pf", table) == (-0.04, 1.04)
    low, high = figures._range("leak", [{"value": -0.2, "low": -0.8, "high": 0.1}])
    assert low == -high == pytest.approx(-0.84)


def test_the_title_of_the_attributes_names_what_is_kept_and_a_leak_only_beyond_chance() -> None:
    def found(leak: tuple[float, float]) -> dict[str, Estimate]:
        return {
            "cp_main": Estimate(0.2, 0.1, 0.3, 9),
            "cp_emblem": Estimate(0.7, 0.6, 0.8, 9),
            "leak": Estimate(0.1, *leak, 9),
        }

    clear = figures._carried({"image branch": found((0.05, 0.2)), "text branch": found((-0.1, 0.3))})
    assert clear.startswith("Image branch keeps most of all emblem (0.70); text branch keeps most of all emblem")
    assert clear.endswith("context leaks through the image branch (0.10)")
    assert figures._carried({"image branch": found((-0.1, 0.2))}).endswith("no branch leaks context beyond chance")
