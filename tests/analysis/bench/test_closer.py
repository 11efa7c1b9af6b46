"""What `dynaip analyze` alone makes: on a tiny model with microworld's labels, and with pictures of a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dynaip.config import ComponentSpec, EvaluationConfig
from dynaip.contracts import AnalysisRequest
from dynaip.errors import ConfigError, InputError
from dynaip.reading import read_rows
from dynaip.registry import registry
from dynaip.report.sections import build
from dynaip.training import checkpoints
from dynaip_analysis.bench.section import Chosen
from dynaip_analysis.bench.workbench import Workbench
from dynaip_plugins.microworld.world.vocabulary import IDENTITY, UNPROMPTED

SMALL = {"cases": 2, "probed": 40, "probe_steps": 1, "checkpoints": 2, "training_cases": 2}


@pytest.fixture
def bench(adapter: Callable[..., Any], tiny_flux: Any, monkeypatch: pytest.MonkeyPatch) -> Workbench:
    dyna = adapter()
    raw = {"benchmark": {"use": "microworld", "single": 8}, "suites": ["single"], "metrics": [{"use": "oracle"}]}
    evaluation = EvaluationConfig.model_validate({**raw, "batch_size": 20, "options": {"num_inference_steps": 1}})
    made = Workbench("tiny", tiny_flux, dyna, dyna.backbone, evaluation)
    monkeypatch.setattr(Workbench, "open", classmethod(lambda cls, run: made))
    monkeypatch.setattr(Workbench, "score", lambda self, cases, images: [])
    return made


def test_a_suite_grows_to_what_is_asked(bench: Workbench) -> None:
    assert len(bench.cases("single", 12)) == 12
    assert [case.id for case in bench.cases("single", 12)][:8] == [case.id for case in bench.cases("single", 8)]


def test_branches_and_their_course_over_training(bench: Workbench, tmp_path: Path) -> None:
    own = {name: value.clone() for name, value in bench.dyna.state_dict().items()}
    for step, factor in ((10, 0.1), (20, 1.0)):
        weights = {name: value * factor for name, value in own.items()}
        checkpoints.save(tmp_path / "checkpoints", checkpoints.Checkpoint(step, weights, {}, {}), keep=5)
    request = AnalysisRequest(str(tmp_path), tmp_path / "out")
    chosen = Chosen("tiny", str(tmp_path), None, shipped=False)
    paths = build("decoupling", SMALL).look_closer(chosen, request.out, request)  # type: ignore[attr-defined]
    assert [path.stem for path in paths] == ["decoupling-similarity", "decoupling-carried", "decoupling-training"]
    rows = read_rows(tmp_path / "out" / "decoupling-carried.parquet")
    factors = {row["factor"] for row in rows}
    assert {*IDENTITY, *UNPROMPTED, "index"} <= factors
    assert "category" not in factors, "every prompt says it"
    course = read_rows(tmp_path / "out" / "decoupling-training.parquet")
    assert {row["step"] for row in course} == {10, 20}
    last = next(row for row in course if row["step"] == 20 and row["measure"] == "index")
    assert last["value"] == pytest.approx(
        next(row for row in rows if row["factor"] == "index")["selectivity"], abs=1e-3
    )
    assert all(torch.equal(value, own[name]) for name, value in bench.dyna.state_dict().items())


def test_every_layer_of_labelled_pictures(tiny_clip_folder: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for kind, tone in (("mug", (200, 40, 40)), ("toy", (40, 40, 200))):
        for name in range(6):
            for k in range(3):
                pixels = np.clip(np.array(tone) + rng.normal(0, 20, size=(32, 32, 3)), 0, 255).astype(np.uint8)
                path = tmp_path / "pictures" / kind / str(name) / f"{k}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
    spec = ComponentSpec.parse(
        "encoder", {"use": "clip", "model": str(tiny_clip_folder), "levels": {"low": 1, "high": 4}}
    )
    dyna = SimpleNamespace(encoder=registry().build(spec), specs=SimpleNamespace(encoder=spec))
    section: Any = build("granularity", {"shown": 2})
    request = AnalysisRequest("tiny", tmp_path / "out", labelled=tmp_path / "pictures")
    section._check(request)
    labelled = section._labelled(None, request)
    paths = section._layers(SimpleNamespace(dyna=dyna), labelled, request.out)
    assert [path.stem for path in paths] == [
        "granularity-layers", "granularity-colours", "granularity-neighbours", "granularity-probes",
    ]  # fmt: skip
    rows = read_rows(request.out / "granularity-probes.parquet")
    assert [(row["layer"], row["level"]) for row in rows] == [
        ("0", None), ("1", "low"), ("2", None), ("3", None), ("4", "high"),
    ]  # fmt: skip
    assert rows[0]["factor"] == "category"
    assert rows[0]["accuracy"] == 1, "the patches' own colour says it"


def test_without_coefficients_the_layers_of_the_encoder_remain(
    bench: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuses(*_: Any, **__: Any) -> None:
        raise ConfigError("no weights over levels")

    monkeypatch.setattr("dynaip_analysis.granularity.measure.check_steering", refuses)
    paths = build("granularity", {"probed": 24, "shown": 2}).analyse(AnalysisRequest("tiny", tmp_path))
    assert [path.stem for path in paths][:2] == ["granularity-layers", "granularity-colours"]
    assert "only the layers of the encoder are looked at: no weights over levels" in caplog.text
    picture = tmp_path / "picture.png"
    Image.new("RGB", (16, 16)).save(picture)
    with pytest.raises(InputError, match="no weights over levels"):
        build("granularity").analyse(AnalysisRequest("tiny", tmp_path, picture, "a mug"))


def test_routing_of_labelled_pictures(bench: Workbench, tmp_path: Path) -> None:
    for kind in ("mug", "toy"):
        for name in range(3):
            for k in range(2):
                path = tmp_path / "pictures" / kind / str(name) / f"{k}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (32, 32), (40 * name, 90 * k, 200 if kind == "mug" else 0)).save(path)
    request = AnalysisRequest("tiny", tmp_path / "out", labelled=tmp_path / "pictures")
    section = build("routing", {"shown": 2})
    section.analyse(request)
    rows = read_rows(tmp_path / "out" / "routing-dependence.parquet")
    assert [row["of"] for row in rows] == ["patch position", "category"]
    looked = next(iter(section._looked.values()))  # type: ignore[attr-defined]
    assert len(looked.cases) == 12
    np.testing.assert_array_equal(looked.groups, np.repeat(np.arange(6), 2))


def test_labelled_pictures_are_checked_before_a_model_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no folder"):
        build("granularity").analyse(AnalysisRequest("no-such-run", tmp_path, labelled=tmp_path / "missing"))
    picture = tmp_path / "pictures"
    for kind in ("a", "b"):
        (picture / kind).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(picture / kind / "1.png")
    with pytest.raises(InputError, match="need 5 of them; there are 2"):
        build("granularity").analyse(AnalysisRequest("no-such-run", tmp_path, labelled=picture))
    with pytest.raises(InputError, match="needs a --prompt"):
        build("decoupling").analyse(AnalysisRequest("no-such-run", tmp_path, labelled=picture))
