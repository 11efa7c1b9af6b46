"""Pictures of two methods become arms of a comparison, with the scores that a hand computes and a page."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from dynaip.cli.app import main

METRIC = '''
import numpy as np

from dynaip.config import ComponentConfig
from dynaip.contracts import Metric
from dynaip.registry import Component, hookimpl


class Options(ComponentConfig):
    """None."""


class Red(Metric):
    """How red a picture is."""

    columns = ("red",)

    def __init__(self, config): ...

    def about(self):
        return {"model": "the eye"}

    def estimate(self, cases):
        return f"{len(cases)} looks"

    def score(self, cases, images):
        return [{"red": float(np.asarray(image)[..., 0].mean())} for image in images]


@hookimpl
def dynaip_components():
    return [Component("metric", "acme_red", Red, Options)]
'''


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("plugin") / "acme_red.py"
    file.write_text(METRIC)
    return file


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plugin: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACME", str(plugin))
    rows = [{"id": f"c-{k}", "prompt": f"a star {k}", "category": ["animal", "object"][k % 2]} for k in range(4)]
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "cases.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for folder, base in (("uno", 10), ("kontext", 100)):
        (tmp_path / folder).mkdir()
        for k in range(4):
            Image.new("RGB", (8, 8), (base + k, 0, 0)).save(tmp_path / folder / f"c-{k}.png")
    return tmp_path


def run(*arguments: str) -> int:
    command = ["score", "--benchmark", "folder", "--data", "bench", "--metric", "acme_red", "-o", "out"]
    return main([*command, "--plugin", os.environ["ACME"], *arguments])


def test_folders_are_arms(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("uno", "flux=kontext") == 0
    shown = capsys.readouterr().out
    assert "11.500" in shown and "101.500" in shown and "animal" in shown
    table = pd.read_parquet(world / "out" / "scores.parquet")
    assert list(table.columns) == ["arm", "case", "suite", "seed", "category", "red"]
    assert table["red"].tolist() == [10, 11, 12, 13, 100, 101, 102, 103]
    assert table["arm"].tolist() == ["uno"] * 4 + ["flux"] * 4
    one = pd.read_parquet(world / "out" / "arms" / "flux" / "scores.parquet")
    assert list(one.columns) == ["case", "suite", "seed", "category", "red"]
    assert one.attrs["record"]["metrics"]["acme_red:acme_red"]["model"] == "the eye"
    results = pd.read_csv(world / "out" / "results.csv")
    assert results["arm"].tolist() == ["uno", "flux"] and results["red"].tolist() == [11.5, 101.5]
    page = (world / "out" / "report.html").read_text()
    assert "flux" in page and "101.500" in page and "damaged" not in page


def test_missing_pictures_end_before_anything_is_written(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (world / "kontext" / "c-2.png").unlink()
    assert run("uno", "kontext") == 2
    error = capsys.readouterr().err
    assert "1 of 4 pictures are missing: c-2" in error and error.count("\n") == 1
    assert not (world / "out").exists()
    assert run("uno", "kontext", "--limit", "2") == 0
    assert len(pd.read_parquet(world / "out" / "scores.parquet")) == 4


def test_a_damaged_picture_of_the_last_arm_ends_before_the_first_is_scored(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = world / "kontext" / "c-3.png"
    damaged.write_bytes(damaged.read_bytes()[:45])
    assert run("uno", "kontext") == 2
    assert "c-3.png is damaged or truncated" in capsys.readouterr().err
    assert not list(world.rglob("scores.parquet"))


def test_a_dry_run_looks_for_the_pictures_and_scores_nothing(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("uno", "flux=kontext", "--dry-run") == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown == ["uno: 4 pictures, one a case", "flux: 4 pictures, one a case", "for each of 2 arms: 4 looks"]
    (world / "kontext" / "c-2.png").unlink()
    assert run("uno", "kontext", "--dry-run") == 2
    assert "1 of 4 pictures are missing: c-2" in capsys.readouterr().err
    assert not (world / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["uno", "uno"], "there is an arm uno already"),
        (["nothing"], "there is no such folder or table"),
        (["a b=uno"], "the name of an arm: 'a b' is no name"),
        (["uno", "--suite", "al"], "Did you mean all"),
        (["uno", "-s", "training.steps=3"], "write -s evaluation.NAME=VALUE"),
        (["uno", "--data", "elsewhere"], "there is no such folder"),
    ],
)
def test_mistakes_are_one_line(
    world: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
) -> None:
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert line in error and error.count("\n") == 1


def test_benchmark_and_metric_are_needed(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", "uno"]) == 2
    assert "add --benchmark NAME and --metric NAME" in capsys.readouterr().err
    command = ["score", "uno", "--benchmark", "xverse", "--metric", "acme_red", "--plugin", os.environ["ACME"]]
    assert main(command) == 2
    assert "no copy is named: give --data FOLDER" in capsys.readouterr().err
