"""Terms with planted factors, and the terms of a tiny model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from dynaip.contracts import Case, CaseReference
from dynaip.training import checkpoints
from dynaip_analysis.bench.labels import Labelled
from dynaip_analysis.bench.workbench import Workbench
from dynaip_analysis.decoupling import branch_figures, branches
from dynaip_analysis.inference.resampling import Sampled

GROUPS = np.repeat(np.arange(30), 6)
FACTORS = {
    "colour": np.random.default_rng(1).integers(0, 3, 30)[GROUPS],
    "pose": np.random.default_rng(2).integers(0, 3, len(GROUPS)),
}
FAMILIES = {"colour": "specific", "pose": "agnostic"}
LABELLED = Labelled([], FACTORS, FAMILIES, GROUPS)


def terms(image: str, text: str) -> branches.Terms:
    """Each branch carries one factor in block 1; block 0 is noise of a hundred times its norm."""
    rng = np.random.default_rng(0)
    found: dict[str, dict[int, Any]] = {}
    for branch, factor in (("image", image), ("text", text)):
        planted = rng.normal(size=(len(GROUPS), 12)) * 0.3
        planted[:, :3] += np.eye(3)[FACTORS[factor]] * 2
        found[branch] = {0: 100 * rng.normal(size=(len(GROUPS), 12)), 1: planted}
    return found


def test_decoupled_branches_are_told_apart() -> None:
    found = branches.carried(terms("colour", "pose"), LABELLED)
    means = branches.family_means(found, FAMILIES)
    assert means["image", "specific"].low > 0.6
    assert means["text", "agnostic"].low > 0.6
    assert means["image", "agnostic"].low < 0.1
    index = branches.index_of(means)
    assert index is not None
    assert index.low > 1
    expected = means["image", "specific"].value - means["image", "agnostic"].value
    expected -= means["text", "specific"].value - means["text", "agnostic"].value
    assert index.value == pytest.approx(expected)
    assert "image branch leans to what the subject is" in branch_figures.verdict(means)


def test_the_other_way_round_and_not_at_all() -> None:
    means = branches.family_means(branches.carried(terms("pose", "colour"), LABELLED), FAMILIES)
    other = branches.index_of(means)
    assert other is not None and other.high < -1
    assert "the other way" in branch_figures.verdict(means)
    told = branch_figures.verdict({key: it for key, it in means.items() if key[0] == "text"})
    assert told.startswith("What its term carries: text branch, concept-specific: selectivity")
    same = terms("colour", "colour")
    alike = branches.index_of(
        branches.family_means(branches.carried({**same, "text": same["image"]}, LABELLED), FAMILIES)
    )
    assert alike is not None and alike.value == 0 and not alike.decided


def test_what_the_prompt_says_is_left_out() -> None:
    found = branches.carried(terms("colour", "pose"), LABELLED, {"pose"})
    assert [each.factor for each in found["image"]] == ["colour"]
    assert branches.index_of(branches.family_means(found, FAMILIES)) is None


def test_figures_and_their_tables(tmp_path: Path) -> None:
    made = terms("colour", "pose")
    found = branches.carried(made, LABELLED)
    path = branch_figures.draw_carried(tmp_path / "carried.png", found, FAMILIES)
    rows = pq.read_table(path.with_suffix(".parquet")).to_pylist()
    assert [row["factor"] for row in rows] == ["colour", "pose"] * 2 + ["mean"] * 4 + ["index"]
    path = branch_figures.draw_similarity(tmp_path / "similarity.png", made)
    rows = pq.read_table(path.with_suffix(".parquet")).to_pylist()
    assert len(rows) == 16 + 1
    assert rows[0]["cka"] == pytest.approx(1)
    assert rows[-1]["chance"] < 0.1, "independent factors: what the title says of whole branches is in the table"
    means = branches.family_means(found, FAMILIES)
    scores = [
        {"branch": "image branch", "suite": "single", "case": str(k), "cp": 0.5, "pf": 1.0, "leak": 0.0}
        for k in range(3)
    ]
    moments = [branches.Moment(step, means, branches.index_of(means), scores) for step in (100, 200)]
    without = [{**row, "branch": "neither", "cp": 0.1} for row in scores]
    path = branch_figures.draw_training(tmp_path / "training.png", moments, {}, without)
    rows = pq.read_table(path.with_suffix(".parquet")).to_pylist()
    assert [row["value"] for row in rows if row["step"] is None and row["measure"] == "cp"] == [pytest.approx(0.1)]
    assert {row["measure"] for row in rows} == {"specific", "agnostic", "index", "cp", "pf", "leak"}
    assert branch_figures._when(moments).endswith("as the paper says from step 100 on, the first that was kept")


def test_when_the_branches_part_is_told_from_where_the_index_ends() -> None:
    def course(*values: float) -> list[branches.Moment]:
        found = [Sampled(value, value + np.linspace(-0.1, 0.1, 101)) for value in values]
        return [branches.Moment(10 * k, {}, index, []) for k, index in enumerate(found)]

    assert branch_figures._when(course(0, 0.5, 0.5)) == "The branches part as the paper says from step 10 on"
    assert branch_figures._when(course(0.5, 0, 0.5)).endswith("as the paper says from step 20 on")
    assert branch_figures._when(course(0, -0.5, -0.5)).endswith("the other way than the paper says from step 10 on")
    assert "do not part beyond chance" in branch_figures._when(course(0.5, -0.5, 0))


def bench_of(dyna: Any, pipe: Any) -> Workbench:
    return Workbench("tiny", pipe, dyna, dyna.backbone, None)


def cases(count: int) -> list[Case]:
    tones = [Image.new("RGB", (32, 32), (20 * k, 90, 200 - 15 * k)) for k in range(count)]
    return [Case(str(k), "user", "a star", (CaseReference(tone),), k, size=(64, 64)) for k, tone in enumerate(tones)]


def test_terms_of_a_tiny_model(adapter: Callable[..., Any], tiny_flux: Any) -> None:
    """They are the means over queries and steps of what the observers are told, case by case."""
    dyna = adapter()
    bench, two = bench_of(dyna, tiny_flux), cases(2)
    heard: dict[tuple[str, int], list[torch.Tensor]] = {}

    def hear(event: Any) -> None:
        heard.setdefault((event.branch, event.block), []).append(event.term.mean(dim=1))

    with dyna.observe(hear):
        bench.generate(two, decoupling="coupled", options={"num_inference_steps": 2})
    found = branches.terms_of(bench, two, steps=2)
    assert set(found) == {"image", "text"}
    for (branch, block), parts in heard.items():
        np.testing.assert_allclose(found[branch][block], torch.stack(parts).mean(dim=0).numpy(), rtol=1e-4, atol=1e-6)


def test_weights_of_a_checkpoint_come_and_go(tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for step in (10, 20, 30, 40):
        other = {name: torch.full_like(value, step) for name, value in before.items()}
        checkpoints.save(tmp_path / "checkpoints", checkpoints.Checkpoint(step, other, {}, {}), keep=9)
    chosen = branches.chosen_checkpoints(tmp_path, 3)
    assert [folder.name for folder in chosen] == ["step-000010", "step-000030", "step-000040"]

    def fail() -> None:
        with branches.weights_of(model, checkpoints.load(chosen[1]).adapter):
            assert float(model.weight.detach().mean()) == 30
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert branches.chosen_checkpoints(tmp_path / "nothing", 3) == []


def test_a_damaged_checkpoint_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = torch.nn.Linear(2, 2)
    for step in (10, 20, 30):
        weights = {name: torch.full_like(value, step) for name, value in model.state_dict().items()}
        checkpoints.save(tmp_path / "checkpoints", checkpoints.Checkpoint(step, weights, {}, {}), keep=9)
    (tmp_path / "checkpoints" / "step-000020" / checkpoints.ADAPTER).write_bytes(b"half")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    other = {"weight": torch.zeros(2, 2), "bias": torch.zeros(3)}  # torch copies what fits before it says no
    checkpoints.save(tmp_path / "checkpoints", checkpoints.Checkpoint(40, other, {}, {}), keep=9)
    seen: list[float] = []

    def look() -> tuple[branches.Carried, list[Any]]:
        seen.append(float(model.weight.detach().mean()))
        return {}, []

    bench: Any = SimpleNamespace(dyna=model)
    moments = branches.over_training(bench, branches.chosen_checkpoints(tmp_path, 9), look, {})
    assert ([each.step for each in moments], seen) == ([10, 30], [10.0, 30.0])
    assert "step-000020: adapter.safetensors is damaged; it is left out" in caplog.text
    assert "step-000040: weights of another adapter do not fit this one; it is left out" in caplog.text
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
