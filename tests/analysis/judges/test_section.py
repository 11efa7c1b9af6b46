"""The section on judges: from the scores of an ablation, and from a run whose cases are scored against each other's."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import yaml
from PIL import Image

from dynaip.contracts import AnalysisRequest, Case, CaseReference
from dynaip.errors import InputError
from dynaip.reading import read_rows
from dynaip.report.build import build_report
from dynaip.report.sections import build, prepare_sections
from dynaip_analysis.bench.workbench import Workbench

COUNT = 24
OTHERS = dict.fromkeys(("attention", "interventions", "routing", "granularity", "decoupling"), False)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Two arms: CP prefers the first, CLIP-I the second."""
    arms = [{"name": name, "folder": name} for name in ("a", "b")]
    for sign, arm in zip((1, -1), arms, strict=True):
        folder = tmp_path / "arms" / str(arm["folder"])
        folder.mkdir(parents=True)
        rows = [
            {"case": str(k), "suite": "single", "seed": k, "cp": 0.5 + 0.1 * sign + 0.01 * (k % 5)}
            | {"pf": 1.0, "clip_i": 60.0 - sign}
            for k in range(COUNT)
        ]
        pd.DataFrame(rows).to_parquet(folder / "scores.parquet")
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump({"arms": arms, "report": OTHERS}))
    return tmp_path


def test_judges_that_disagree_are_said_in_the_report(directory: Path) -> None:
    assert prepare_sections(directory) == {}
    text = build_report(directory).read_text(encoding="utf-8")
    assert "Whether the judges agree" in text
    assert "CP and CLIP-I order 1 of 1 pairs of arms the other way round (0 alike)" in text
    assert "0 of 1 differences in concept preservation that some judge finds survive all 2 judges." in text
    assert "Judges of concept preservation contradict each other on a and b (single)." in text


def test_one_judge_is_no_section(directory: Path) -> None:
    for arm in ("a", "b"):
        path = directory / "arms" / arm / "scores.parquet"
        pd.read_parquet(path).drop(columns=["pf", "clip_i"]).to_parquet(path)
    assert prepare_sections(directory) == {}
    assert "Whether the judges agree" not in build_report(directory).read_text(encoding="utf-8")


class Bench:
    """Stands for a workbench: CP knows which case an image was made for, PF says one thing of all."""

    columns = ("cp", "pf")

    def cases(self, suite: str, count: int, seed: int = 0) -> list[Case]:
        reference = CaseReference(Image.new("RGB", (8, 8)), subject="star")
        return [Case(str(k), suite, "a star", (reference,), k) for k in range(count)]

    def generate(self, cases: list[Case]) -> list[Any]:
        return [SimpleNamespace(made_for=case.id) for case in cases]

    def score(self, cases: list[Case], images: list[Any]) -> list[dict[str, float]]:
        rows = [
            {"cp": float(image.made_for == case.id), "pf": 0.5}
            for case, image in zip(cases, images, strict=True)
        ]  # fmt: skip
        return [{name: row[name] for name in self.columns} for row in rows]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> type[Bench]:
    monkeypatch.setattr(Workbench, "open", classmethod(lambda cls, run: Bench()))
    return Bench


def test_a_run_is_judged_on_its_own_and_on_others_cases(bench: type[Bench], tmp_path: Path) -> None:
    (path,) = build("judges", {"cases": 6}).analyse(AnalysisRequest("run", tmp_path))
    known = {
        row["judge"]: row["value"] for row in read_rows(path.with_suffix(".parquet")) if row["what"] == "own case known"
    }
    assert known == {"cp": 1.0, "pf": 0.5}


def test_mistakes_are_lines(bench: type[Bench], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = tmp_path / "own.png"
    Image.new("RGB", (8, 8)).save(picture)
    with pytest.raises(InputError, match="leave --ref"):
        build("judges").analyse(AnalysisRequest("run", tmp_path, picture, "a star"))
    with pytest.raises(InputError, match="has one case"):
        build("judges", {"cases": 1}).analyse(AnalysisRequest("run", tmp_path))
    monkeypatch.setattr(Bench, "columns", ("cp",))
    with pytest.raises(InputError, match="scored by cp alone"):
        build("judges", {"cases": 3}).analyse(AnalysisRequest("run", tmp_path))
