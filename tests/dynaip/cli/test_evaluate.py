"""The table of an evaluation shows what its metrics gave, whatever they are called; what cannot work ends before loading."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dynaip.cli.app import main
from dynaip.cli.evaluate import intervals, print_scores, show_scores

OWN = '''
from dynaip.config import ComponentConfig
from dynaip.contracts import Metric
from dynaip.registry import Component, hookimpl


class Options(ComponentConfig):
    """None."""


class Mine(Metric):
    """Counts."""

    columns = ("acme_score",)

    def __init__(self, config): ...

    def score(self, cases, images):
        return [{"acme_score": 0.125} for _ in cases]


@hookimpl
def dynaip_components():
    return [Component("metric", "acme_mine", Mine, Options)]
'''


def test_a_metric_of_ones_own_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "acme.py").write_text(OWN)
    arguments = ["evaluate", "microworld", "--plugin", str(tmp_path / "acme.py"), "--metric", "acme_mine"]
    more = ["--suite", "single", "--limit", "2", "-s", "evaluation.options.num_inference_steps=1"]
    assert main([*arguments, *more, "-o", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert "acme_score" in shown
    assert "0.125" in shown
    table = pd.read_parquet(tmp_path / "out" / "scores.parquet")
    assert list(table.columns) == ["case", "suite", "seed", "acme_score"]
    assert len(list((tmp_path / "out" / "samples").rglob("*.png"))) == 2


def test_every_column_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    names = ["cp", "pf", "cp_pf", "mean_cp_pf", *(f"cp_part{k}" for k in range(9)), "mine", "mine_2", "mine_b"]
    table = pd.DataFrame([{"suite": "single", "n": 3} | {name: place / 8 for place, name in enumerate(names)}])
    show_scores(table)
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if "suite" in line]
    assert sorted(name for line in lines for name in line if name != "suite") == sorted(["n", *names])
    assert lines[0][:6] == ["suite", "n", "cp", "pf", "cp_pf", "mean_cp_pf"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--metric", "orakel"], "Did you mean oracle"),
        (["--benchmark", "microwold"], "Did you mean microworld"),
        (["--suite", "singel"], "Did you mean single"),
        (["--decoupling", "dynamik"], "Did you mean dynamic"),
        (["-s", "training.steps=3"], "write -s evaluation.NAME=VALUE"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
) -> None:
    assert main(["evaluate", "microworld", *arguments, "-o", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert line in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_intervals_are_those_of_a_bootstrap_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(3)
    cp, pf = rng.uniform(0.2, 0.8, 60), rng.uniform(0.5, 1.0, 60)
    scores = pd.DataFrame(
        {"case": [f"c{k}" for k in range(60)], "suite": "single", "seed": range(60), "cp": cp, "pf": pf}
    )
    drawn = np.random.default_rng(9).integers(0, 60, (4000, 60))
    by_hand = np.percentile(cp[drawn].mean(1) * pf[drawn].mean(1), [2.5, 97.5])
    assert intervals(scores)["single", "cp_pf"] == pytest.approx(by_hand, abs=0.008)
    print_scores(scores)
    low, high = intervals(scores)["single", "cp"]
    assert f"{cp.mean():.3f} [{low:.2f}, {high:.2f}]" in capsys.readouterr().out
    print_scores(scores, as_json=True)
    (row,) = json.loads(capsys.readouterr().out)
    assert row["n"] == 60 and row["cp"] == pytest.approx(cp.mean()) and row["intervals"]["cp"] == [low, high]


def test_a_dry_run_says_what_judging_takes_and_asks_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    judge = {"use": "vlm", "model": "m", "records": str(tmp_path / "records"), "repeats": 3, "prices": [2.5, 10]}
    given = [
        "evaluate",
        "microworld",
        "--suite",
        "single",
        "--limit",
        "2",
        "-s",
        f"evaluation.metrics=[{json.dumps(judge)}]",
    ]
    assert main([*given, "--dry-run", "-o", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert "2 pictures" in shown and "m: 12 calls" in shown and "at the prices given" in shown
    assert not (tmp_path / "out").exists() and not (tmp_path / "records").exists()
