"""Sections from files they prepared with a stand-in adapter, and how they appear in the report."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from dynaip.config import EvaluationConfig
from dynaip.contracts import AnalysisRequest, Case, CaseReference, FusedReference
from dynaip.errors import ConfigError, InputError
from dynaip.notes import Note, caught
from dynaip.reading import read_rows
from dynaip.registry import registry
from dynaip.report.build import build_report
from dynaip.report.sections import build, prepare_sections
from dynaip_analysis.bench import workbench
from dynaip_analysis.bench.section import chosen_runs

LEVELS = {"low": 1, "high": 2}


class Adapter:
    """Stands for an adapter: four patches, two levels, two branches, one block."""

    encoder = SimpleNamespace(grid=(2, 2), levels=LEVELS)
    attention = SimpleNamespace(serves=lambda branch: True)

    def __init__(self) -> None:
        self.fusion = torch.nn.Identity()

    def features(self, images: list[Image.Image]) -> int:
        return len(images)

    def fuse(self, features: int, **options: Any) -> FusedReference:
        return FusedReference(torch.zeros(1), torch.tensor([0.25, 0.75]).expand(features, 4, 2))


class Bench:
    """Stands for a workbench; CP is what the coefficients of level low are, so that the figures are known."""

    evaluation = EvaluationConfig.model_validate(
        {"benchmark": {"use": "microworld"}, "suites": ["single"], "metrics": [{"use": "oracle"}]}
    )

    def __init__(self) -> None:
        self.dyna = Adapter()
        self.last: dict[str, Any] = {}

    def cases(self, suite: str, count: int, seed: int = 0) -> list[Case]:
        picture = Image.new("RGB", (16, 16), "teal")
        return [Case(f"{suite}-{k}", suite, "a red mug", (CaseReference(picture),), k) for k in range(count)]

    def generate(self, cases: list[Case], **options: Any) -> list[Image.Image]:
        self.last = options
        return [Image.new("RGB", (16, 16), "navy") for _ in cases]

    def score(self, cases: list[Case], images: list[Image.Image]) -> list[dict[str, float]]:
        low = (self.last.get("granularity") or {}).get("low", 0.5)
        return [{"cp": 0.2 * low + 0.01 * (k % 3), "pf": 0.9, "leak": 0.0} for k in range(len(cases))]

    def columns(self) -> list[str]:
        return ["cp", "pf", "leak"]

    def words(self, prompt: str) -> list[str]:
        return prompt.split()


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbench.Workbench, "open", classmethod(lambda cls, run: Bench()))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """One trained arm, the shipped adapter beside it; a plan that keeps the sections small."""
    small = {
        "attention": False,
        "routing": {"cases": 3, "shown": 2},
        "granularity": {"cases": 4},
        "decoupling": False,
    }
    arms = [{"name": "hmoe-dynamic", "folder": "a"}, {"name": "microworld", "folder": "b", "baseline": True}]
    for arm in arms:
        folder = tmp_path / "arms" / str(arm["folder"]) / "adapter"
        folder.mkdir(parents=True)
        (folder / "adapter.safetensors").touch()
        (folder.parent / "config.yaml").write_text(yaml.safe_dump({"training": {"steps": 700}}))
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump({"question": "?", "arms": arms, "report": small}))
    return tmp_path


def test_every_section_is_registered() -> None:
    assert {"attention", "routing", "granularity", "decoupling"} <= {
        entry.component.name for entry in registry().components("report_section")
    }


def test_the_shipped_adapter_comes_first(directory: Path) -> None:
    chosen = chosen_runs(directory)
    assert [each.label for each in chosen] == ["microworld", "hmoe-dynamic"]
    assert chosen[0].run == "microworld"
    assert chosen[0].shipped
    assert chosen[0].steps == 700
    assert chosen[1].run == str(directory / "arms" / "a")
    assert chosen_runs(directory, "elsewhere/run")[0].run == "elsewhere/run"


def test_prepared_and_shown(bench: None, directory: Path) -> None:
    assert prepare_sections(directory) == {}
    text = build_report(directory).read_text(encoding="utf-8")
    for title in ("What the router does", "What each level preserves"):
        assert title in text
    assert "What each branch carries" not in text, "the plan leaves it out"
    assert "mean weights are low 0.25, high 0.75; high leads" in text
    assert "trained for 700 steps" in text
    assert "CP is 0.21 as routed, and with one level: low alone 0.21, high alone 0.01 (4 cases)" in text


def test_a_section_that_fails_is_a_line_and_the_others_stand(
    bench: None, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Bench, *args: Any, **options: Any) -> None:
        raise RuntimeError("no <memory> left")

    monkeypatch.setattr(Bench, "score", broken)
    assert list(prepare_sections(directory)) == ["analysis:granularity"]
    text = build_report(directory).read_text(encoding="utf-8")
    assert "This section could not be computed: <code>no &lt;memory&gt; left</code>" in text
    assert "What the router does" in text


def test_nothing_prepared_nothing_shown(directory: Path) -> None:
    text = build_report(directory).read_text(encoding="utf-8")
    assert "What the router does" not in text
    assert "could not be computed" not in text


def test_an_option_that_does_not_exist_is_a_line(directory: Path) -> None:
    plan = yaml.safe_load((directory / "plan.yaml").read_text())
    plan["report"]["routing"] = {"casez": 3}
    (directory / "plan.yaml").write_text(yaml.safe_dump(plan))
    assert "casez" in build_report(directory).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["routing", "granularity", "decoupling"])
def test_analysis_of_one_run(bench: None, tmp_path: Path, name: str) -> None:
    figures = build(name, {"cases": 2}).analyse(AnalysisRequest("microworld", tmp_path / "out"))
    assert figures
    assert all(path.suffix == ".png" and read_rows(path.with_suffix(".parquet")) for path in figures)


def test_a_fusion_without_a_router_is_said(bench: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Adapter, "fuse", lambda self, features, **options: FusedReference(torch.zeros(1)))
    with pytest.raises(InputError, match="has no router"):
        build("routing").analyse(AnalysisRequest("runs/concat", tmp_path))


def test_paired_differences_of_branches(bench: None, tmp_path: Path) -> None:
    build("decoupling", {"cases": 8}).analyse(AnalysisRequest("microworld", tmp_path))
    rows = read_rows(tmp_path / "decoupling-branches.parquet")
    assert {row["branch"] for row in rows} == {"neither", "image branch", "text branch", "both branches"}
    assert np.allclose([row["difference"] for row in rows], 0)


def test_state_survives_as_plain_files(bench: None, directory: Path) -> None:
    prepare_sections(directory)
    state = json.loads((directory / "analysis" / "sections.json").read_text())
    assert {"analysis:routing", "analysis:granularity"} <= set(state)
    assert "analysis:attention" not in state
    shutil.rmtree(directory / "arms")
    assert "What the router does" in build_report(directory).read_text(encoding="utf-8")


def test_what_got_lost_in_the_folder_is_said(bench: None, directory: Path) -> None:
    prepare_sections(directory)
    folder = directory / "analysis"
    (folder / "granularity.png").unlink()
    (folder / "granularity-attributes.png").write_bytes((folder / "granularity-attributes.png").read_bytes()[:300])
    (folder / "routing-summary.parquet").write_bytes(b"PAR1 nothing")
    stale = folder / "granularity-old.png"
    shutil.copy(folder / "routing.png", stale)
    found = {name: build(name).content(directory) for name in ("granularity", "routing")}
    granularity, routing = found["granularity"], found["routing"]
    assert granularity is not None and routing is not None
    assert "Not shown: granularity.png is missing; granularity-attributes.png is damaged" in granularity.lead
    assert granularity.figures == []
    assert "routing-summary.parquet is damaged" in routing.lead
    assert [path.name for path, _ in routing.figures] == ["routing.png", "routing-summary.png"]
    assert "granularity.png is missing" in build_report(directory).read_text(encoding="utf-8")
    (folder / "routing.json").write_text('{"runs": [')
    with pytest.raises(InputError, match=r"routing\.json is damaged"):
        build("routing").content(directory)


def test_what_is_not_made_again_is_not_shown_as_if_it_were(bench: None, directory: Path) -> None:
    prepare_sections(directory)
    assert build("granularity").content(directory) is not None
    shutil.rmtree(directory / "arms")
    (directory / "plan.yaml").write_text(yaml.safe_dump({"question": "?", "arms": []}))
    build("granularity").prepare(directory)
    assert build("granularity").content(directory) is None


def test_an_arm_without_a_router_is_said_beside_one_with(
    bench: None, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Without(Bench):
        def __init__(self) -> None:
            super().__init__()
            self.dyna.fuse = lambda features, **options: FusedReference(torch.zeros(1))  # type: ignore[method-assign]

    opened = {"microworld": Bench, str(directory / "arms" / "a"): Without}
    monkeypatch.setattr(workbench.Workbench, "open", classmethod(lambda cls, run: opened[run]()))
    section = build("routing", {"cases": 3})
    with pytest.warns(Note, match="hmoe-dynamic has no router: it is left out"):
        section.prepare(directory)
    content = section.content(directory)
    assert content is not None
    assert content.lead.endswith("hmoe-dynamic has no router.")


def test_fewer_cases_than_were_asked_for_are_said(bench: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    every = Bench.cases
    monkeypatch.setattr(Bench, "cases", lambda self, suite, count, seed=0: every(self, suite, min(count, 6)))
    with caught() as lines:
        build("decoupling").analyse(AnalysisRequest("microworld", tmp_path))
    assert not any("cases=" in line for _, line in lines), "what nobody asked for is no news"
    with pytest.warns(Note, match="cases=9, but suite single has 6 cases: all are taken"):
        build("decoupling", {"cases": 9}).analyse(AnalysisRequest("microworld", tmp_path))


@pytest.mark.parametrize("cases", [1, 7])
@pytest.mark.parametrize("name", ["granularity", "decoupling"])
def test_metrics_of_another_kind_are_drawn_as_well(
    bench: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, cases: int
) -> None:
    """Runs of real models have no CP: what they measure is shown on its own scale, with the cases that have a value."""

    def score(self: Bench, cases: list[Case], images: list[Image.Image]) -> list[dict[str, float]]:
        return [{"clip_i": 70.0 + k, "clip_t": float("nan") if k == 1 else 0.2} for k in range(len(cases))]

    monkeypatch.setattr(Bench, "score", score)
    figures = build(name, {"cases": cases}).analyse(AnalysisRequest("microworld", tmp_path))
    assert len(figures) == 3
    rows = [row for path in figures[1:] for row in read_rows(path.with_suffix(".parquet"))]
    assert {row["metric"]: row["cases"] for row in rows} == {"clip_i": cases, "clip_t": min(cases, 6)}
    assert {row["value"] for row in rows if row["metric"] == "clip_i"} == {70.0 + (cases - 1) / 2}


@pytest.mark.parametrize("name", ["granularity", "decoupling"])
def test_scores_without_any_number_are_said(
    bench: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(Bench, "score", lambda self, cases, images: [{"cp": float("nan")} for _ in cases])
    with pytest.warns(Note, match="no metric of the run gives a number"):
        figures = build(name, {"cases": 2}).analyse(AnalysisRequest("microworld", tmp_path))
    assert [path.name for path in figures] == [f"{name}.png"]


@pytest.mark.parametrize(("name", "option"), [("attention", {"budget": "much"}), ("attention", {"budget": "1e999GB"})])
def test_options_that_mean_nothing_are_refused_before_a_model_is_loaded(name: str, option: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="no size in bytes"):
        build(name, option)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"reference": "missing.png", "prompt": "a mug"}, "there is no such picture"),
        ({"reference": "broken.png", "prompt": "a mug"}, "no picture that can be read"),
        ({"reference": "fine.png"}, "needs a --prompt"),
        ({"prompt": "a mug"}, "give it with --ref"),
    ],
)
def test_what_the_user_gave_is_checked_before_a_model_is_loaded(
    tmp_path: Path, changes: dict[str, str], words: str
) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    Image.new("RGB", (8, 8)).save(tmp_path / "fine.png")
    given = {**changes, "reference": tmp_path / changes["reference"]} if "reference" in changes else changes
    with pytest.raises(InputError, match=words):
        build("attention").analyse(AnalysisRequest("no-such-run", tmp_path, **given))


def test_options_of_a_report_are_refused_by_an_analysis(bench: None, tmp_path: Path) -> None:
    """They would be read by nobody: RUN and --seed say the same."""
    for option, value, instead in (("run", "elsewhere", "RUN"), ("seed", 3, "--seed")):
        with pytest.raises(InputError, match=f"{option} is an option of sections in a report.*{instead}"):
            build("decoupling", {option: value}).analyse(AnalysisRequest("microworld", tmp_path))
