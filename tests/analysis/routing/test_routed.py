"""Weights of a tiny model's router, with the prompt where it reads one; and the figures of routing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from dynaip.contracts import Case, CaseReference
from dynaip.errors import ConfigError, InputError
from dynaip_analysis.bench.workbench import Workbench
from dynaip_analysis.granularity import measure
from dynaip_analysis.routing import figures
from dynaip_analysis.routing.dependence import Dependence, dependences, prompt_information
from dynaip_analysis.routing.routed import routed, under_prompts

PROMPTS = ("a star", "a house")
LEVELS = ("low", "mid", "high")


def cases() -> list[Case]:
    pictures = [Image.new("RGB", (32, 32), (40 * k, 90, 200)) for k in range(2)]
    return [Case(str(k), "user", PROMPTS[k], (CaseReference(pictures[k]),), k, size=(64, 64)) for k in range(2)]


def bench(dyna: Any, pipe: Any) -> Workbench:
    return Workbench("tiny", pipe, dyna, dyna.backbone, None)


def test_a_router_that_reads_the_prompt_gets_it(adapter: Callable[..., Any], tiny_flux: Any) -> None:
    dyna = adapter(fusion={"use": "hmoe", "router": "prompt"})
    with torch.no_grad():
        dyna.fusion.router.weight.normal_(std=0.5)
    found = routed(bench(dyna, tiny_flux), cases())
    assert found is not None
    pooled = dyna.backbone.encode_prompts(tiny_flux, PROMPTS)["pooled_prompt_embeds"]
    pictures = [case.references[0].image for case in cases()]
    with torch.no_grad():
        expected = dyna.fuse(dyna.features(pictures), condition=pooled).weights
    np.testing.assert_allclose(found.weights, expected.numpy(), atol=1e-5)
    weights = under_prompts(bench(dyna, tiny_flux), cases(), PROMPTS)
    assert weights.shape == (2, *found.weights.shape)
    np.testing.assert_allclose(weights[0][0], found.weights[0], atol=1e-5)
    assert prompt_information(weights).value > 1e-4
    measure.check_steering(dyna)
    with pytest.raises(InputError, match="reads the prompt"):
        routed(bench(dyna, tiny_flux), [replace(case, prompt="") for case in cases()])


def test_experts_within_levels(adapter: Callable[..., Any], tiny_flux: Any) -> None:
    found = routed(bench(adapter(fusion={"use": "hmoe", "experts_per_level": 2}), tiny_flux), cases())
    assert found is not None and found.experts is not None
    assert found.experts.shape == (*found.weights.shape, 2)
    np.testing.assert_allclose(found.experts.sum(axis=-1), 1, rtol=1e-5)


def test_a_fusion_without_levels_to_steer_says_so_at_once(adapter: Callable[..., Any], tiny_flux: Any) -> None:
    dyna = adapter(fusion="concat")
    assert routed(bench(dyna, tiny_flux), cases()) is None
    with pytest.raises(ConfigError, match="concat has no weights over levels"):
        measure.check_steering(dyna)


def test_the_title_counts_how_many_were_tried() -> None:
    def with_p(p: float) -> Dependence:
        return Dependence(0.5, 0.1, 0.2, p)

    parts = {"a": with_p(0.002), "b": with_p(0.04), "c": with_p(0.3)}
    assert figures._what_counts({"levels": parts}).endswith("depends on: a")
    assert figures._what_counts({"levels": {"b": with_p(0.04)}}).endswith("depends on: b")
    assert figures._what_counts({"levels": {"c": with_p(0.3)}}).endswith("nothing beyond chance")


def test_figures_and_their_tables(tmp_path: Path) -> None:
    images = [Image.new("RGB", (16, 16), "teal")] * 2
    weights = np.tile(np.eye(3)[[0, 0, 2, 2]], (2, 1, 1))
    path = figures.draw_choice(tmp_path / "choice.png", images, {"level": weights}, LEVELS, (2, 2))
    rows = pq.read_table(path.with_suffix(".parquet")).to_pylist()
    assert rows[2] == {"of": "level", "image": 0, "row": 1, "column": 0, "level": "high", "weight": 1.0}
    found = {"levels": dependences(weights, {"kind": np.array([0, 1])}, (2, 2), shuffles=19)}
    path = figures.draw_dependence(tmp_path / "dependence.png", found)
    rows = pq.read_table(path.with_suffix(".parquet")).to_pylist()
    assert [row["of"] for row in rows] == ["patch position", "kind"]
    assert rows[0]["information"] == pytest.approx(np.log(2))
    gates = np.zeros((2, 4, 3, 2))
    gates[..., 0] = 1
    path = figures.draw_experts(tmp_path / "experts.png", gates, LEVELS)
    rows = pq.read_table(path.with_suffix(".parquet")).to_pylist()
    assert [row["dead"] for row in rows] == [False, True] * 3
    path = figures.draw_prompts(tmp_path / "prompts.png", np.stack([weights, weights]), PROMPTS, LEVELS)
    rows = pq.read_table(path.with_suffix(".parquet")).to_pylist()
    assert len(rows) == 6
    assert rows[0]["information"] == pytest.approx(0, abs=1e-12)


def test_what_has_no_position_is_left_out_of_its_panel(tmp_path: Path) -> None:
    """A router for each image over experts for each patch."""
    found = Dependence(0.5, 0.1, 0.2, 0.002)
    both = {"levels": {"kind": found}, "experts of low": {"patch position": found, "kind": found}}
    path = figures.draw_dependence(tmp_path / "dependence.png", both)
    rows = pq.read_table(path.with_suffix(".parquet")).to_pylist()
    assert [(row["choice"], row["of"]) for row in rows] == [
        ("levels", "kind"), ("experts of low", "patch position"), ("experts of low", "kind"),
    ]  # fmt: skip


def test_a_single_reference_has_no_interval_and_the_title_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = np.random.default_rng(0).dirichlet(np.ones(3), size=(2, 1, 4))
    titles: list[str] = []
    monkeypatch.setattr("dynaip_analysis.routing.figures.canvas.headline", lambda figure, text: titles.append(text))
    figures.draw_prompts(tmp_path / "prompts.png", weights, PROMPTS[:2], LEVELS)
    assert "(of a single reference)" in titles[0]
    assert "nan" not in titles[0]
