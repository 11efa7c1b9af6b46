"""What a run is evaluated with, as an analysis reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from dynaip.config import EvaluationConfig
from dynaip.contracts import Case, CaseReference, Metric
from dynaip.errors import ConfigError, InputError
from dynaip.evaluation.generation import sample_path, save_png
from dynaip.evaluation.origin import origin
from dynaip_analysis.bench.workbench import Workbench, evaluation_if_named
from dynaip_analysis.interventions.measure import sweep


def test_a_run_without_a_benchmark_has_none_and_a_mistake_is_told(
    tmp_path: Path, experiment: Callable[..., Any]
) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert evaluation_if_named(str(tmp_path)) is None
    section = {"benchmark": {"use": "microworld", "single": 3}, "suites": ["single"], "metrics": ["oracle"]}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(experiment(evaluation=section).resolved()))
    found = evaluation_if_named(str(tmp_path))
    assert isinstance(found, EvaluationConfig)
    assert found.benchmark.config.single == 3
    (tmp_path / "config.yaml").write_text("backbone: {use: flux, nonsense: 1}\n")
    with pytest.raises(ConfigError, match="nonsense"):
        evaluation_if_named(str(tmp_path))
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w')\n")
    saved = experiment(evaluation=section).resolved() | {"plugins": ["evil.py"]}
    for damaged, words in ((yaml.safe_dump(saved), "--plugin"), ("backbone: [", "config.yaml")):
        (tmp_path / "config.yaml").write_text(damaged)
        with pytest.raises(InputError, match=words):
            evaluation_if_named(str(tmp_path))
    assert not (tmp_path / "mark").exists(), "a run brings no code"


class Judge(Metric):
    """A metric that says what it was told, and the size of the image that it was given."""

    columns = ("clip_i", "height")

    def __init__(self, value: float) -> None:
        self.value = value

    def score(self, cases: list[Case], images: list[Image.Image]) -> list[dict[str, float]]:
        return [{"clip_i": self.value, "height": float(image.height)} for image in images]


@pytest.fixture
def built() -> list[EvaluationConfig]:
    """Evaluations whose metrics were built."""
    return []


@pytest.fixture
def bench(
    adapter: Callable[..., Any], tiny_flux: Any, monkeypatch: pytest.MonkeyPatch, built: list[EvaluationConfig]
) -> Workbench:
    def build(config: EvaluationConfig) -> list[Judge]:
        built.append(config)
        return [Judge(0.25), Judge(0.75)]

    monkeypatch.setattr("dynaip_analysis.bench.workbench.build_metrics", build)
    raw = {"benchmark": "microworld", "suites": ["single"], "metrics": ["oracle", "clip"], "batch_size": 4}
    evaluation = EvaluationConfig.model_validate({**raw, "options": {"num_inference_steps": 1}})
    dyna = adapter()
    return Workbench("tiny", tiny_flux, dyna, dyna.backbone, evaluation)


def mixed() -> list[Case]:
    """Tall and wide cases in turn, with one reference or two."""
    one, other = (CaseReference(Image.new("RGB", (32, 32), tone)) for tone in ("teal", "red"))
    shapes = [((48, 32), (one,)), ((32, 48), (one,)), ((32, 48), (one, other)), ((48, 32), (other,))]
    return [Case(f"c{k}", "mixed", "a mug", references, k, size) for k, (size, references) in enumerate(shapes)]


def test_cases_keep_their_size_and_their_own_image_whatever_stands_beside_them(bench: Workbench) -> None:
    cases = mixed()
    together, alone = bench.generate(cases), [bench.generate([case])[0] for case in cases]
    assert [image.size[::-1] for image in together] == [case.size for case in cases]
    for one, other in zip(together, alone, strict=True):
        assert np.abs(np.asarray(one, int) - np.asarray(other, int)).max() <= 1
    assert [[case.id for case in batch] for batch in bench.batches(cases)] == [["c0"], ["c1"], ["c2"], ["c3"]]
    with pytest.raises(InputError, match="bare leaves the references out"):
        bench.generate(cases, bare=True, granularity={"low": 2.0})
    alike = [cases[0]] * 6
    assert [len(batch) for batch in bench.batches(alike)] == [4, 2]
    assert [len(batch) for batch in bench.batches(alike, most=3)] == [3, 3]


def test_columns_that_two_metrics_share_are_kept_as_an_evaluation_names_them(bench: Workbench) -> None:
    images = [Image.new("RGB", (8, height)) for height in (5, 6)]
    rows = bench.score(mixed()[:2], images)
    assert rows == [{"clip_i": 0.25, "height": h, "clip_i_2": 0.75, "height_2": h} for h in (5.0, 6.0)]
    assert bench.columns() == ["clip_i", "height"]


def test_a_sweep_builds_the_metrics_once(bench: Workbench, built: list[EvaluationConfig]) -> None:
    found = sweep(bench, [mixed()[0], mixed()[3]], windows=1, decoupling="coupled")
    assert len(found.cells) > 4
    assert {row["clip_i_2"] for row in found.scores} == {0.75}
    assert len(built) == 1


def test_what_an_evaluation_has_painted_from_just_the_same_is_taken(
    bench: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Marks on the pictures of an evaluation show which of them come back; any other wish is painted."""
    cases, evaluation = mixed(), bench.evaluation
    assert evaluation is not None
    for name, dyna in (("with", bench.dyna), ("without", None)):
        told = origin(bench.pipe, bench.backbone, dyna, evaluation.options)
        for case in cases[:3]:
            mark = Image.new("RGB", (8, 8), "lime" if dyna else "pink")
            save_png(mark, sample_path(tmp_path / name, case), told(case))
    painted: list[str] = []

    def generate(pipe: Any, backbone: Any, cases: list[Case], **more: Any) -> Iterator[tuple[Case, Image.Image]]:
        painted.extend(case.id for case in cases)
        return ((case, Image.new("RGB", (8, 8), "black")) for case in cases)

    monkeypatch.setattr("dynaip_analysis.bench.workbench.generate_cases", generate)
    own, levels = str(bench.dyna.specs.decoupling.use), dict.fromkeys(bench.dyna.encoder.levels, 1.0)

    def tones(**wish: Any) -> str:
        painted.clear()
        found = [image.getpixel((0, 0)) for image in bench.generate(cases, **wish)]
        return "".join({(0, 255, 0): "l", (255, 192, 203): "p", (0, 0, 0): "-"}[tone] for tone in found)

    assert tones(anew=False) == "----", "nothing was painted before"
    bench.shelves = [tmp_path / "missing", tmp_path / "with", tmp_path / "without"]
    for wish in ({}, {"decoupling": own}, {"granularity": levels}):
        assert tones(anew=False, **wish) == "lll-"
        assert painted == ["c3"]
    assert tones(anew=False, bare=True) == "ppp-"
    others: list[dict[str, Any]] = [
        {"decoupling": "text_only"},
        {"granularity": levels | {next(iter(levels)): 2.0}},
        {"options": {"num_inference_steps": 2}},
    ]
    for wish in others:
        assert tones(anew=False, **wish) == "----"
    assert tones() == "----", "a recording needs a generation"
    with torch.no_grad():
        next(bench.dyna.parameters()).add_(1)
    assert tones(anew=False) == "----", "other weights"
    assert tones(anew=False, bare=True) == "ppp-"
