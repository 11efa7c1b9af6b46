"""The section on attention on a tiny FLUX: what it writes, what it says, and that files alone rebuild its text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dynaip.adapter.reference import Reference
from dynaip.adapter.words import tokens_of
from dynaip.contracts import AnalysisRequest, Case, CaseReference
from dynaip.reading import read_rows
from dynaip.report.sections import build
from dynaip_analysis.bench import workbench
from dynaip_analysis.bench.section import Chosen
from dynaip_analysis.recording.recording import Recording


class Bench:
    """A workbench on the tiny pipeline whose cases know where their subject is."""

    every_branch = workbench.Workbench.every_branch
    batches = workbench.Workbench.batches
    batch_size = 8

    def __init__(self, dyna: Any, pipe: Any) -> None:
        self.dyna, self.pipe = dyna, pipe

    def cases(self, suite: str, count: int, seed: int = 0) -> list[Case]:
        found: list[Case] = []
        for k in range(count):
            picture = Image.fromarray(np.random.default_rng(k).integers(0, 255, (32, 32, 3), dtype=np.uint8))
            mask = np.zeros((32, 32), bool)
            mask[:16, 8 * (k % 2) : 8 * (k % 2) + 16] = True
            reference = CaseReference(picture, mask=lambda mask=mask: mask)
            found.append(Case(f"c{k}", suite, "a large mug on sea", (reference,), k, (48, 32)))
        return found

    def of_two(self, suite: str, count: int, seed: int = 0) -> list[Case]:
        """Cases of two subjects in halves of the image, the second one on a wide picture."""
        found: list[Case] = []
        for one, other in zip(Bench.cases(self, suite, count), Bench.cases(self, suite, count + 1)[1:], strict=True):
            first, second = one.references[0], other.references[0]
            wide = replace(
                second, image=second.image.resize((64, 32)), region=(0.5, 0.0, 1.0, 1.0), mask=lambda: np.eye(32, 64)
            )
            found.append(replace(one, references=(replace(first, region=(0.0, 0.0, 0.5, 1.0)), wide)))
        return found

    def generate(self, cases: Sequence[Case], *, decoupling: Any = None) -> list[Image.Image]:
        references = [[Reference(each.image, region=each.region) for each in case.references] for case in cases]
        prompts, seeds = [case.prompt for case in cases], [case.seed for case in cases]
        with self.dyna.references(*references, decoupling=decoupling):
            return self.dyna.backbone.generate(self.pipe, prompts, seeds=seeds, size=(48, 32), num_inference_steps=1)

    def words(self, prompt: str) -> list[str]:
        return tokens_of(self.dyna.backbone, self.pipe, prompt)


@pytest.mark.parametrize("trained", ["dynamic", "image_only"])
def test_figures_tables_and_words(
    adapter: Callable[..., Any], tiny_flux: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trained: str
) -> None:
    """An adapter that never trained the text branch is looked at as well, through the branch that it has."""
    bench = Bench(adapter(decoupling=trained), tiny_flux)
    monkeypatch.setattr(workbench.Workbench, "open", classmethod(lambda cls, run: bench))
    section = build("attention", {"cases": 1, "masked": 2})
    figures = section.analyse(AnalysisRequest("run", tmp_path))
    assert [path.name for path in figures] == [
        "attention-0.png", "attention-0-places.png", "attention-blocks.png", "attention-spread.png", "attention-agreement.png"
    ]  # fmt: skip
    assert all(path.is_file() and read_rows(path.with_suffix(".parquet")) for path in figures)
    branches = {"image", "text"} if trained == "dynamic" else {"image"}
    assert {row["branch"] for row in read_rows(tmp_path / "attention-blocks.parquet")} == branches
    kept = Recording.load(tmp_path / "attention.safetensors")
    assert set(kept.attention) == branches
    assert kept.columns["image"].axes["key"] == ["large", "mug", "sea"]
    content = section.tell([Chosen("run", "run", 10, shipped=False)], tmp_path)
    assert [path.stem for path, _ in content.figures] == [
        "attention-0", "attention-0-places", "attention-agreement", "attention-blocks", "attention-spread"
    ]  # fmt: skip
    assert "in the image branch" in content.lead
    assert "average precision of 0." in content.lead
    assert len(content.tables) == 2


def test_every_reference_of_a_case(
    adapter: Callable[..., Any], tiny_flux: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Two subjects with regions: figures of each, maps where it may act, and masks in the part that the encoder sees."""
    bench = Bench(adapter(), tiny_flux)
    monkeypatch.setattr(bench, "cases", bench.of_two)
    monkeypatch.setattr(workbench.Workbench, "open", classmethod(lambda cls, run: bench))
    figures = build("attention", {"cases": 1, "masked": 2}).analyse(AnalysisRequest("run", tmp_path))
    assert [path.name for path in figures[:4]] == [
        "attention-0-reference1.png", "attention-0-reference1-places.png",
        "attention-0-reference2.png", "attention-0-reference2-places.png",
    ]  # fmt: skip
    for number, columns in ((1, {0, 1}), (2, {2, 3})):
        rows = read_rows(tmp_path / f"attention-0-reference{number}.parquet")
        seen = {
            row["column"]
            for row in rows
            if row["map"] == "share" and row["branch"] == "image" and np.isfinite(row["value"])
        }
        assert seen == columns
        rows = read_rows(tmp_path / f"attention-0-reference{number}-places.parquet")
        assert {row["token_column"] for row in rows} <= columns
    assert figures[-1].name == "attention-agreement.png"
    assert {row["cases"] for row in read_rows(figures[-1].with_suffix(".parquet"))} == {2}


def test_a_run_that_generates_case_by_case_is_looked_at_like_one_that_generates_together(
    adapter: Callable[..., Any], tiny_flux: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each call of the pipeline is a recording of its own; cases are never mixed."""
    bench = Bench(adapter(), tiny_flux)
    monkeypatch.setattr(workbench.Workbench, "open", classmethod(lambda cls, run: bench))
    tables: list[list[dict[str, Any]]] = []
    for size in (8, 1):
        bench.batch_size, out = size, tmp_path / str(size)
        build("attention", {"cases": 2, "masked": 2}).analyse(AnalysisRequest("run", out))
        stems = ("attention-0", "attention-1", "attention-blocks", "attention-agreement")
        tables.append([row for stem in stems for row in read_rows(out / f"{stem}.parquet")])
    assert len(list((tmp_path / "1").glob("attention*.safetensors"))) == 2
    assert len(tables[0]) == len(tables[1])
    for together, alone in zip(*tables, strict=True):
        assert together.keys() == alone.keys()
        for name, value in together.items():
            assert alone[name] == (
                pytest.approx(value, rel=1e-3, abs=1e-5, nan_ok=True) if isinstance(value, float) else value
            )
