"""Means by suite against numbers worked out by hand."""

from __future__ import annotations

import pandas as pd
import pytest

from dynaip.scores import summary, to_csv


def test_summary_by_hand() -> None:
    scores = pd.DataFrame(
        {
            "case": ["a", "b", "c"],
            "suite": ["single", "single", "multi2"],
            "seed": [1, 2, 3],
            "cp": [1.0, 0.0, 0.5],
            "pf": [0.5, 1.0, 0.5],
            "leak": [0.2, float("nan"), 0.0],
        }
    )
    table = summary(scores)
    assert list(table.columns) == ["suite", "n", "cp", "pf", "cp_pf", "mean_cp_pf", "leak"]
    first = table.iloc[0]
    assert (first["suite"], first["n"], first["cp"], first["pf"]) == ("single", 2, 0.5, 0.75)
    assert first["cp_pf"] == pytest.approx(0.375)
    assert first["mean_cp_pf"] == pytest.approx(0.25)
    assert first["leak"] == pytest.approx(0.2)
    assert table.iloc[1]["cp_pf"] == pytest.approx(0.25)


def test_metrics_without_cp() -> None:
    scores = pd.DataFrame({"case": ["a"], "suite": ["s"], "seed": [0], "clip_i": [70.0]})
    assert summary(scores).to_dict("records") == [{"suite": "s", "n": 1, "clip_i": 70.0}]


def test_no_cell_of_the_csv_is_a_formula() -> None:
    table = pd.DataFrame({"arm": ["=cmd()", "plain", "-1+1"], "n": [1, 2, 3], "@cp": [-0.25, float("nan"), 1e-20]})
    assert to_csv(table) == "arm,n,'@cp\n'=cmd(),1,-0.25\nplain,2,\n'-1+1,3,1e-20\n"
    assert to_csv(pd.DataFrame(columns=["arm", "n"])) == "arm,n\n"
