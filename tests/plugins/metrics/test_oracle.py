"""CP, PF and leak on scenes that are drawn as asked, and on scenes with a planted mistake."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from dynaip.config import ComponentSpec
from dynaip.contracts import Case
from dynaip.errors import InputError
from dynaip.registry import registry
from dynaip_plugins.metrics.oracle.model import OracleMetric, _score
from dynaip_plugins.microworld.world.render import pictures
from dynaip_plugins.microworld.world.vocabulary import ATTRIBUTES, IDENTITY, PROMPTED, UNPROMPTED

LABELS = dict.fromkeys([*ATTRIBUTES, "count"], 0)


def test_scores_by_hand() -> None:
    subject = {"labels": LABELS, "reference": {**LABELS, "posture": 1}}
    shown = {**LABELS, "main": 3, "texture": 1, "place": 2, "illumination": 2}
    values = _score(shown, subject, several=False)
    assert values["cp"] == pytest.approx(3 / 5)
    assert [values[f"cp_{band}"] for band in ("fine", "middle", "coarse")] == pytest.approx([1 / 3, 1, 1])
    other = _score({**LABELS, "emblem": 1, "variant": 2}, subject, several=False)
    assert [other[f"cp_{band}"] for band in ("fine", "middle", "coarse")] == [1, 0, 0]
    assert values["pf"] == pytest.approx(3 / 4)
    assert (values["cp_main"], values["cp_second"], values["pf_place"], values["pf_size"]) == (0, 1, 0, 1)
    # Copied: perspective, one of two values: (1 - 1/2) / (1/2) = 1. The others, of three values, give (0 - 1/3) / (2/3) = -1/2.
    assert values["leak"] == pytest.approx((1 - 0.5 - 0.5) / 3)
    several = _score({**shown, "count": 1}, subject, several=True)
    assert several["pf"] == pytest.approx(3 / 5)


def test_leak_of_chance_is_zero() -> None:
    subject = {"labels": LABELS, "reference": LABELS}
    leaks = [_score({**LABELS, "posture": p, "perspective": q, "illumination": r}, subject, False)["leak"]
             for p in range(3) for q in range(2) for r in range(3)]  # fmt: skip
    assert np.mean(leaks) == pytest.approx(0, abs=1e-12)
    assert [len(ATTRIBUTES[name]) for name in UNPROMPTED] == [3, 2, 3]


@pytest.fixture(scope="module")
def metric() -> OracleMetric:
    return registry().build(ComponentSpec.parse("metric", "oracle"))


def drawn(count: int, suite: str, identities: str = "own") -> tuple[list[Case], list[Image.Image]]:
    """Cases with scenes drawn as their labels say; ``identities`` shifted gives every subject another identity."""
    from dynaip_plugins.benchmarks.microworld.model import SUBJECTS
    from dynaip_plugins.microworld.world.scenes import Identity, Scene, sample_scene

    benchmark = registry().build(ComponentSpec.parse("benchmark", {"use": "microworld", suite: count}))
    scenes: list[Any] = []
    for number in range(count):
        scene = sample_scene(np.random.default_rng((0, number, SUBJECTS[suite], 0xBE7C)), SUBJECTS[suite], "test")
        if identities == "shifted":
            from dataclasses import replace

            def other(who: Identity) -> Identity:
                steps = {n: v[(v.index(getattr(who, n)) + 1) % len(v)] for n, v in IDENTITY.items()}
                return Identity(**steps)

            subjects = tuple(replace(s, identity=other(s.identity)) for s in scene.subjects)
            scene = Scene(subjects, scene.background, scene.illumination, scene.jitter)
        scenes.append(scene)
    return list(benchmark.cases(suite)), pictures(scenes)


@pytest.mark.parametrize("suite", ["single", "multi2"])
def test_perfect_and_swapped_scenes(metric: OracleMetric, suite: str) -> None:
    perfect = metric.score(*drawn(16, suite))
    assert np.mean([row["cp"] for row in perfect]) > 0.97
    assert np.mean([row["pf"] for row in perfect]) > 0.97
    assert set(perfect[0]) == set(metric.columns)
    swapped = metric.score(*drawn(16, suite, "shifted"))
    assert np.mean([row["cp"] for row in swapped]) < 0.05
    assert np.mean([row["pf"] for row in swapped]) > 0.97
    assert len(PROMPTED) == 4


def test_other_benchmarks_are_refused(metric: OracleMetric) -> None:
    case = Case("a", "b", "c", (), 0)
    with pytest.raises(InputError, match="scores cases of the microworld benchmark"):
        metric.score([case], [Image.new("RGB", (64, 64))])


def test_pictures_of_another_size_are_read_as_well(metric: OracleMetric) -> None:
    cases, images = drawn(12, "single")
    twice = metric.score(cases, [image.resize((256, 256)) for image in images])
    assert np.mean([row["cp"] for row in twice]) > 0.95
