"""Sweeps of coefficients: the settings, their figures and tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dynaip_analysis.drawing import canvas
from dynaip_analysis.granularity import figures, measure

LEVELS = ("low", "high")


def sweep() -> measure.GammaSweep:
    chosen = measure.settings(LEVELS, gammas=(2.0,))
    picture = Image.new("RGB", (16, 16), "teal")
    scores = [
        {
            "setting": each.name,
            "case": f"c{k}",
            "cp": each.coefficients["low"] / 4 + 0.01 * k,
            "pf": 0.5,
            "cp_main": 1.0,
            "leak": None,
        }
        for each in chosen
        for k in range(3)
    ]
    return measure.GammaSweep(chosen, [picture] * 2, ["a", "b"], {each.name: [picture] * 2 for each in chosen}, scores)


def test_settings_cover_the_router_each_level_alone_and_every_gamma() -> None:
    found = {each.name: dict(each.coefficients) for each in measure.settings(LEVELS, gammas=(0.5, 1.0, 2.0))}
    assert list(found)[:3] == ["as routed", "low alone", "high alone"]
    assert found["as routed"] == {"low": 1, "high": 1}
    assert found["high alone"] == {"low": 0, "high": 1}
    assert found["low × 0.5"] == {"low": 0.5, "high": 1}
    assert found["no reference"] == {"low": 0, "high": 0}
    assert len(found) == 8


def test_the_title_of_the_table_tells_its_numbers() -> None:
    title = figures._kept(canvas.estimates(sweep().scores, "setting"))
    assert title == "Identity kept (CP): 0.26 as routed; low alone 0.26, high alone 0.01; 0.01 no reference"
    assert figures._kept({"as routed": {}}) == "Means of the run's metrics, by setting"


def test_estimates_by_setting() -> None:
    found = canvas.estimates(sweep().scores, "setting")
    assert found["low × 2"]["cp"].value == pytest.approx(0.51)
    assert found["high alone"]["cp"].value == pytest.approx(0.01)
    assert canvas.metric_names(sweep().scores) == ["cp", "pf", "cp_main"]
    assert canvas.shown_metrics(["cp", "pf", "leak", "cp_main", "pf_place"]) == ["cp", "cp_main", "pf", "leak"]


def curve() -> measure.GammaSweep:
    """CP follows the coefficient of low, case by case; one attribute is moved by it, the other is not."""
    chosen = measure.curves(LEVELS, gammas=(0.5, 2.0))
    scores = [
        {"setting": each.name, "case": f"c{k}", "cp": 0.2 * each.coefficients["low"], "pf": 0.9, "leak": 0.0,
         "cp_main": 0.3 * each.coefficients["low"] + 0.01 * k, "cp_emblem": 0.5}
        for each in chosen for k in range(6)
    ]  # fmt: skip
    return measure.GammaSweep(chosen, [], [], {}, scores)


def test_curves_recover_what_a_coefficient_moves(tmp_path: Path) -> None:
    names = [each.name for each in curve().settings]
    assert names == ["as routed", "low × 0.5", "low × 2", "high × 0.5", "high × 2", "no reference"]
    rows = measure.curve_rows(curve(), canvas.estimates(curve().scores, "setting"))
    main = {(row["level"], row["gamma"]): row["value"] for row in rows if row["metric"] == "cp_main"}
    assert main["low", 2.0] - main["low", 0.5] == pytest.approx(0.45)
    assert main["high", 2.0] == main["high", 0.5] == main["low", 1.0] == main["high", 1.0]
    assert {row["moved"] for row in rows if row["metric"] == "cp_emblem" and row["level"]} == {0}
    assert figures._moved(rows).startswith("The coefficient of low moves main most: by 0.45, more than chance (0.")
    assert [row["metric"] for row in rows if row["level"] is None] == ["cp", "pf", "leak", "cp_main", "cp_emblem"]
    path = figures.draw_curves(tmp_path / "curves.png", curve())
    assert len(pq.read_table(path.with_suffix(".parquet"))) == len(rows)


def test_the_largest_of_many_spans_is_chance_in_nineteen_worlds_of_twenty() -> None:
    """Scores that no coefficient moves, with cases that differ: three attributes, two levels, five settings."""
    chosen = measure.curves(LEVELS, gammas=(0.25, 0.5, 2.0, 4.0))
    beyond = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        own = rng.random((12, 3))
        scores = [
            {"setting": each.name, "case": f"c{k}",
             **{f"cp_{a}": float(rng.random() < own[k, a]) for a in range(3)}}
            for each in chosen for k in range(12)
        ]  # fmt: skip
        spans, limit = measure._spans(measure.GammaSweep(chosen, [], [], {}, scores))
        beyond += max(spans.values()) > limit
    assert beyond <= 6


def test_figures_and_their_tables(tmp_path: Path) -> None:
    path = figures.draw_strip(tmp_path / "strip.png", sweep())
    table = pq.read_table(path.with_suffix(".parquet")).to_pylist()
    assert path.stat().st_size > 2000
    assert table[0]["gamma_low"] == 1.0
    assert len(table) == 18
    path = figures.draw_attributes(tmp_path / "attributes.png", sweep())
    assert len(pq.read_table(path.with_suffix(".parquet"))) == 18
