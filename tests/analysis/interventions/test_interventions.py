"""Interventions on a tiny FLUX whose term acts at one planted block and time: the causal map finds it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import ttest_1samp

from dynaip.adapter.reference import Reference
from dynaip.contracts import AnalysisRequest, Case, CaseReference
from dynaip.errors import InputError
from dynaip.reading import read_rows
from dynaip.report.sections import build
from dynaip_analysis.bench import workbench
from dynaip_analysis.interventions import figures, measure
from dynaip_analysis.interventions.intervention import Intervention, intervene, together
from dynaip_analysis.interventions.measure import UNTOUCHED, Sweep, cells, sweep, windows_of

Make = Callable[..., Any]


def picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (32, 32, 3), dtype=np.uint8))


class Bench:
    """A workbench on the tiny pipeline; its metric is the mean of the pixels."""

    def __init__(self, dyna: Any, pipe: Any) -> None:
        self.dyna, self.pipe, self.calls = dyna, pipe, 0

    def cases(self, suite: str, count: int, seed: int = 0) -> list[Case]:
        return [Case(f"c{k}", suite, "a mug", (CaseReference(picture(k)),), k, (32, 32)) for k in range(count)]

    def case_of(self, reference: Path, prompt: str | None, seed: int) -> Case:
        return Case("user", "user", prompt or "", (CaseReference(Image.open(reference)),), seed, (32, 32))

    def generate(self, cases: Sequence[Case], *, decoupling: Any = None) -> list[Image.Image]:
        self.calls += 1
        references = [[Reference(each.image) for each in case.references] for case in cases]
        prompts, seeds = [case.prompt for case in cases], [case.seed for case in cases]
        with self.dyna.references(*references, decoupling=decoupling):
            return self.dyna.backbone.generate(self.pipe, prompts, seeds=seeds, size=(32, 32), num_inference_steps=4)

    def score(self, cases: Sequence[Case], images: Sequence[Image.Image]) -> list[dict[str, float]]:
        if any(case.suite == "user" for case in cases):
            return []
        # How near the image's mean comes to that of the reference.
        means = [
            (np.asarray(i).mean(), np.asarray(c.references[0].image).mean()) for i, c in zip(images, cases, strict=True)
        ]
        return [{"likeness": 1 - abs(float(one) - float(other)) / 255} for one, other in means]


@pytest.fixture
def bench(adapter: Make, tiny_flux: Any) -> Bench:
    """Only block 1 of the image branch carries anything."""
    dyna = adapter()
    with torch.no_grad():
        dyna.attention.pair("image", 0).to_v.weight.zero_()
        dyna.attention.pair("image", 1).to_v.weight.mul_(4)
    return Bench(dyna, tiny_flux)


def test_the_planted_block_and_time_are_found(bench: Bench, tmp_path: Path) -> None:
    early = Intervention("scale", steps=(0.0, 0.5), factor=1e-9)  # the term acts late only
    with intervene(bench.dyna, early):
        found = sweep(bench, bench.cases("s", 2), windows=2, branches=["image"])
    assert found.windows[0][1] == 0.5
    assert bench.dyna._injector.block_scale is None
    rows = {(row["block"], row["window"]): row for row in measure.effects(found) if row["metric"] == "change"}
    assert rows[1, 1]["effect"] > 1e-3
    assert rows[1, -1]["effect"] >= rows[1, 1]["effect"] - 1e-9
    for nothing in ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0)):
        assert rows[nothing]["effect"] == 0
    assert bench.calls == 1 + 9
    path = figures.draw(tmp_path / "map.png", found)
    assert path.stat().st_size > 5000
    assert {row["metric"] for row in read_rows(path.with_suffix(".parquet"))} == {"likeness", "change"}


def test_nested_interventions_and_exceptions_are_undone(bench: Bench) -> None:
    case = bench.cases("s", 1)
    plain = np.asarray(bench.generate(case)[0])
    with pytest.raises(AssertionError, match="dropped"), intervene(bench.dyna, Intervention("drop")):
        assert np.array_equal(np.asarray(bench.generate(case)[0]), plain), "dropped"
    np.testing.assert_array_equal(np.asarray(bench.generate(case)[0]), plain)
    with intervene(bench.dyna, Intervention("scale", factor=1.0)):
        np.testing.assert_array_equal(np.asarray(bench.generate(case)[0]), plain)


def test_a_swap_everywhere_is_the_other_reference(bench: Bench) -> None:
    one, other = bench.cases("s", 2)
    alone = bench.generate([Case("x", "s", one.prompt, other.references, one.seed, one.size)])[0]
    both = Case("x", "s", one.prompt, (*one.references, *other.references), one.seed, one.size)
    with intervene(bench.dyna, Intervention("swap")):
        swapped = bench.generate([both])[0]
    assert np.abs(np.asarray(swapped).astype(int) - np.asarray(alone).astype(int)).max() <= 1
    with intervene(bench.dyna, Intervention("swap", blocks=[])):
        kept = bench.generate([both])[0]
    assert np.abs(np.asarray(kept).astype(int) - np.asarray(bench.generate([one])[0]).astype(int)).max() <= 1


def test_factors_at_addresses() -> None:
    scale = together(
        [Intervention("scale", branch="image", factor=0.5), Intervention("drop", blocks=[2], steps=(0.5, 1.0))]
    )
    assert scale("image", 0, 0.9) == 0.5
    assert scale("text", 0, 0.9) == 1.0
    assert scale("text", 2, 0.9) == 0.0
    assert scale("image", 2, 0.4) == 0.5
    assert scale("image", 2, 1.0) == 0.5, "a window ends before its end"
    swap = together([Intervention("swap", blocks=[1]), Intervention("scale", factor=0.25)])
    assert swap("image", 1, 0.0) == (0.0, 0.25)
    assert swap("image", 0, 0.0) == (0.25, 0.0)
    back = together([Intervention("swap"), Intervention("swap", blocks=[1])])
    assert back("image", 0, 0.0) == (0.0, 1.0)
    assert back("image", 1, 0.0) == (1.0, 0.0), "a swap of a swap is the first reference again"
    assert together([Intervention("drop", blocks=[1])], lambda *at: (0.5, 0.25, 2.0))("text", 0, 0.0) == (
        0.5,
        0.25,
        2.0,
    )
    assert together([Intervention("swap")], lambda *at: (0.5,))("text", 0, 0.0) == (0.0, 1.0)


def test_nested_interventions_are_one(bench: Bench) -> None:
    """Swaps of two blocks, one inside the other, are the swap of both; scales multiply."""
    one, other = bench.cases("s", 2)
    both = [Case("x", "s", one.prompt, (*one.references, *other.references), one.seed, one.size)]
    for whole, parts in (
        (Intervention("swap", blocks=[0, 1]), [Intervention("swap", blocks=[0]), Intervention("swap", blocks=[1])]),
        (Intervention("scale", factor=0.25), [Intervention("scale", factor=0.5)] * 2),
        (Intervention("swap", blocks=[]), [Intervention("swap"), Intervention("swap")]),
    ):
        with intervene(bench.dyna, whole):
            wanted = np.asarray(bench.generate(both)[0])
        with intervene(bench.dyna, parts[0]), intervene(bench.dyna, parts[1]):
            np.testing.assert_array_equal(np.asarray(bench.generate(both)[0]), wanted)


def test_a_swap_without_a_second_reference_is_refused(bench: Bench) -> None:
    one, other, third = bench.cases("s", 3)
    three = Case("x", "s", "a mug", (*one.references, *other.references, *third.references), 0, (32, 32))
    for wrong in (one, three):
        with pytest.raises(InputError, match="give two for every prompt"), intervene(bench.dyna, Intervention("swap")):
            bench.generate([wrong])
    assert not bench.pipe.transformer._forward_pre_hooks.keys() - {bench.dyna.injector.handles[0].id}


def test_addresses_without_a_term_are_refused(bench: Bench) -> None:
    """The policy of the fixture closes the text branch at inference: a sweep over it would find nothing, and mean nothing."""
    with pytest.raises(InputError, match=r"nothing is added to the text branch .* decoupling=coupled"):
        sweep(bench, bench.cases("s", 2), windows=1, branches=["text"])
    with pytest.raises(InputError, match="nothing is added in block 7; it is in blocks 0, 1"):
        sweep(bench, bench.cases("s", 2), windows=1, blocks=[7])


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"kind": "dorp"}, "one of drop, scale, swap, not 'dorp'. Did you mean drop?"),
        ({"branch": "joint"}, "branch is image or text"),
        ({"blocks": 3}, r"a list such as \[0, 1\]"),
        ({"steps": (0.5, 0.5)}, "a part of 0 .noise. to 1 .image., not 0.5 to 0.5"),
        ({"steps": (1.2, 2.0)}, "not 1.2 to 2.0"),
        ({"steps": (float("nan"), 1.0)}, "not nan to 1.0"),
        ({"factor": 0.5}, "a factor is for kind='scale'; drop has none"),
        ({"kind": "scale", "factor": -1.0}, "0 or more, not -1.0"),
        ({"kind": "scale", "factor": float("nan")}, "0 or more, not nan"),
    ],
)
def test_a_misspelt_intervention_is_refused(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        Intervention(**wrong)


def test_what_the_adapter_adds_nothing_to_cannot_be_changed(adapter: Make, tiny_flux: Any) -> None:
    dyna = adapter(decoupling="image_only")
    for change, told in (
        (Intervention(branch="text"), "nothing to the text branch there.*it adds to blocks no block"),
        (Intervention(blocks=[0, 7]), "nothing to block 7 there.*it adds to blocks 0, 1"),
    ):
        with pytest.raises(InputError, match=told), intervene(dyna, change):
            raise AssertionError("refused before anything runs")
    with intervene(dyna, Intervention(branch="image", blocks=[1])):
        assert dyna.block_scale("image", 1, 0.5) == 0


def test_windows_hold_equal_numbers_of_steps() -> None:
    assert windows_of([0.0, 0.1, 0.3, 0.7], 2) == [(0.0, 0.3), (0.3, float("inf"))]
    with pytest.raises(InputError, match="3 windows need at least as many denoising steps; there are 2"):
        windows_of([0.0, 0.5], 3)
    assert len(cells(["image", "text"], [0, 1, 2], 4)) == 2 * 4 * 5


def test_the_null_of_flipped_signs() -> None:
    """|t| is scipy's; few sweeps without any effect stand out, and a small effect that all cases share does."""
    draws = np.random.default_rng(0).normal(size=(200, 20, 12))
    np.testing.assert_allclose(measure.t_of(draws[0]), np.abs(ttest_1samp(draws[0], 0, axis=1).statistic))
    beyond = [measure.t_of(each).max() > measure.null_of(each) for each in draws]
    assert 0.01 < np.mean(beyond) < 0.11, "about 5 % of sweeps without any effect stand out"
    planted = draws[0] * 0.1
    planted[3] += 0.2
    assert (measure.t_of(planted) > measure.null_of(planted)).tolist() == [k == 3 for k in range(20)]
    assert measure.t_of(np.zeros((1, 4))) == 0
    assert np.isnan(measure.t_of(np.full((2, 3), np.nan))).all()


@pytest.mark.parametrize("cases", [6, 8, 16])
def test_intervals_cover_what_they_say(cases: int) -> None:
    rng = np.random.default_rng(cases)
    rows = [
        {
            "cell": name,
            "case": str(k),
            "change": 0.0,
            **{f"m{j}": 0.0 if name == UNTOUCHED else value for j, value in enumerate(draws)},
        }
        for name in (UNTOUCHED, *(cell.name for cell in cells(["image"], [0], 1)))
        for k, draws in enumerate(rng.normal(size=(cases, 150)))
    ]
    found = measure.effects(Sweep("drop", 0.0, cells(["image"], [0], 1), [(0.0, np.inf)], rows, {}))
    covered = [row["low"] <= 0 <= row["high"] for row in found if row["metric"] != "change"]
    assert 0.92 < np.mean(covered) < 0.98


@pytest.mark.parametrize("cases", [2, 3, 4, 5])
def test_few_cases_cannot_stand_out(cases: int) -> None:
    """All 2^n sign patterns are alike in pairs: with five cases the rarest pair is 1 in 16, more than 1 in 20."""
    rng = np.random.default_rng(cases)
    same = np.full((3, cases), 0.25)
    for found in [
        same,
        *rng.choice([-0.25, 0.25, 0.5, 1 / 3], size=(200, 6, cases)),
        *rng.normal(size=(200, 6, cases)),
    ]:
        assert not (measure.t_of(found) > measure.null_of(found) * measure.ROUNDING).any()
    assert (measure.t_of(np.full((3, 6), 0.25)) > measure.null_of(np.full((3, 6), 0.25))).all()


def test_a_change_of_pixels_has_no_null(bench: Bench, tmp_path: Path) -> None:
    found = sweep(bench, bench.cases("s", 6), windows=1, branches=["image"])
    rows = measure.effects(found)
    assert all(np.isnan(row["null"]) and not row["stands_out"] for row in rows if row["metric"] == "change")
    assert all(np.isfinite(row["null"]) for row in rows if row["metric"] == "likeness")
    cell = next(row for row in rows if row["metric"] == "change" and row["block"] == 1 and row["window"] == 0)
    assert cell["low"] <= cell["effect"] <= cell["high"]
    assert "0 is what a term without any effect gives" in figures._reading(rows, "change")


def test_metrics_that_are_no_oracle() -> None:
    names = ["change", "clip_i", "clip_t"]
    assert figures.drawn_metrics(names, "drop") == ["clip_i", "clip_t"]
    assert figures.drawn_metrics([*names, "other_change", "other_clip_i"], "swap") == [
        "clip_i",
        "clip_t",
        "other_clip_i",
    ]
    assert figures.drawn_metrics(["change"], "drop") == ["change"]
    assert figures.drawn_metrics(["change", "cp", "leak", "cp_colours"], "drop") == ["cp", "leak"]
    assert np.isnan(measure.null_of(np.ones((3, 1))))


def test_a_sweep_as_a_table(bench: Bench) -> None:
    found = sweep(bench, bench.cases("single", 2), windows=1, branches=["image"], blocks=[0])
    table = found.table()
    assert table.index[0] == "untouched"
    assert len(table) == 1 + len(found.cells)
    own = [row["likeness"] for row in found.scores if row["cell"] == found.cells[0].name]
    assert table.loc[found.cells[0].name, "likeness"] == pytest.approx(np.mean(own))
    assert repr(found) == "Sweep of drop at 4 places on 2 cases: table() has the scores"
    assert "<table" in found._repr_html_()


def test_a_swap_needs_two_cases(bench: Bench) -> None:
    with pytest.raises(InputError, match="at least two cases of one reference"):
        sweep(bench, bench.cases("s", 1), kind="swap", windows=1)


def test_the_command_and_what_it_says(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbench.Workbench, "open", classmethod(lambda cls, run: bench))
    section = build("interventions", {"cases": 2, "windows": 1, "kind": "swap"})
    assert section.analyse(AnalysisRequest("run", tmp_path)) == [tmp_path / "interventions.png"]
    metrics = {row["metric"] for row in read_rows(tmp_path / "interventions.parquet")}
    assert metrics == {"likeness", "change", "other_likeness"}
    picture(1).save(tmp_path / "mine.png")
    request = AnalysisRequest("run", tmp_path, reference=tmp_path / "mine.png", prompt="a mug")
    assert build("interventions", {"windows": 1}).analyse(request)
    rows = read_rows(tmp_path / "interventions.parquet")
    assert {row["metric"] for row in rows} == {"change"}
    text = figures.headline(rows, "change", "drop")
    assert "changes the pixels most in block 1, image branch, at progress 0.00 to 1.00" in text


def test_the_headline_names_what_stands_out_over_all_steps_alone() -> None:
    """No single block and window is beyond chance, block 2 over all steps is: the statement must not hide it."""

    def cell(block: int, window: int, effect: float, clear: bool) -> dict[str, object]:
        return {"metric": "cp", "branch": "image", "block": block, "window": window, "from": 0.0, "to": 0.5,
                "effect": effect, "stands_out": clear, "null": 2.8, "cases": 8}  # fmt: skip

    rows = [cell(0, 0, -0.01, False), cell(2, 0, -0.12, False), cell(2, -1, -0.34, True), cell(-1, -1, -0.78, True)]
    said = figures.headline(rows, "cp", "drop")
    assert said.endswith(
        "by no more than 8 cases tell from chance; in block 2 of the image branch over all steps it does (−0.34)"
    )
    assert figures.headline(rows[:2], "cp", "drop").endswith("changes CP by no more than 8 cases tell from chance")
    halved = [row | {"factor": 0.5} for row in rows[:1]]
    assert figures.headline(halved, "cp", "scale").startswith("Scaling the reference term by 0.5 in one block")
    steady = [*rows, cell(3, 0, -0.05, True)]
    said = figures.headline(steady, "cp", "drop")
    assert "changes CP most in block 3" in said, "a larger effect that is not beyond chance must not hide it"
    assert figures.headline([cell(0, 0, 0.0, False) | {"null": np.nan}], "cp", "drop").endswith("does not change CP")
