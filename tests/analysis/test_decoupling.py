"""Branches compared on the same cases."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dynaip_analysis import decoupling


def comparison() -> decoupling.Comparison:
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
    return decoupling.Comparison([picture] * 3, {name: [picture] * 3 for name in means}, scores)


def test_paired_differences_to_both_branches() -> None:
    rows = {(row["branch"], row["metric"]): row for row in decoupling.differences(comparison().scores)}
    found = rows["image branch", "cp"]
    assert found["difference"] == pytest.approx(0.1)
    assert found["difference_low"] == pytest.approx(0.1)
    assert rows["both branches", "leak"]["difference"] == 0
    assert found["cases"] == 60


def test_an_adapter_of_one_branch_is_compared_with_no_reference() -> None:
    attention = SimpleNamespace(serves=lambda branch: branch == "image")
    assert list(decoupling.served(SimpleNamespace(attention=attention))) == ["neither", "image branch"]
    assert decoupling.served(SimpleNamespace()) == decoupling.POLICIES
    scores = [row for row in comparison().scores if row["branch"] in ("neither", "image branch")]
    rows = {(row["branch"], row["metric"]): row for row in decoupling.differences(scores)}
    assert rows["image branch", "cp"]["difference"] == pytest.approx(0.5)


def test_figures_and_their_tables(tmp_path: Path) -> None:
    path = decoupling.draw(tmp_path / "branches.png", comparison())
    assert path.stat().st_size > 4000
    assert len(pq.read_table(path.with_suffix(".parquet"))) == 12
    path = decoupling.draw_strip(tmp_path / "strip.png", comparison())
    assert path.stat().st_size > 2000


def test_the_statement_and_the_scales_follow_from_the_table() -> None:
    """Small differences near 1 are not blown up: CP and PF keep the scale from 0 to 1, leak has chance in the middle."""
    table = decoupling.differences(comparison().scores)
    means = {row["branch"]: row["value"] for row in table if row["metric"] == "cp"}
    assert f"{means['text branch']:.2f} through text branch" in decoupling._kept(table)
    assert decoupling._range("pf", table) == (-0.04, 1.04)
    low, high = decoupling._range("leak", [{"low": -0.8, "high": 0.1}])
    assert low == -high == pytest.approx(-0.84)
