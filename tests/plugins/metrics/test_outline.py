"""Outlines of scenes that are drawn as asked, and of scenes with a planted fault; no network is asked but for two columns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFilter

from dynaip.config import ComponentSpec
from dynaip.contracts import Case
from dynaip.errors import InputError
from dynaip.registry import registry
from dynaip_plugins.benchmarks.microworld.model import SUBJECTS
from dynaip_plugins.metrics.outline.model import OutlineMetric
from dynaip_plugins.microworld.measuring import outline
from dynaip_plugins.microworld.world.render import backgrounds, pictures
from dynaip_plugins.microworld.world.scenes import Scene, Subject, sample_scene
from dynaip_plugins.microworld.world.vocabulary import IDENTITY, PROMPTED

CATEGORIES = PROMPTED["category"]


def metric(**options: object) -> OutlineMetric:
    return registry().build(ComponentSpec.parse("metric", {"use": "outline", **options}))


def drawn(count: int, suite: str = "single") -> tuple[list[Case], list[Scene]]:
    benchmark = registry().build(ComponentSpec.parse("benchmark", {"use": "microworld", suite: count}))
    chance = [np.random.default_rng((0, number, SUBJECTS[suite], 0xBE7C)) for number in range(count)]
    return list(benchmark.cases(suite)), [sample_scene(rng, SUBJECTS[suite], "test") for rng in chance]


def another_form(subject: Subject) -> Subject:
    forms = IDENTITY["variant"]
    variant = forms[(forms.index(subject.identity.variant) + 1) % len(forms)]
    return replace(subject, identity=replace(subject.identity, variant=variant))


def another_category(subject: Subject) -> Subject:
    return replace(subject, category=CATEGORIES[(CATEGORIES.index(subject.category) + 1) % len(CATEGORIES)])


def mean(rows: list[dict[str, float]], name: str) -> float:
    return float(np.mean([row[name] for row in rows]))


@pytest.mark.parametrize("suite", ["single", "multi2"])
def test_renders_are_crisp_and_their_own(suite: str) -> None:
    cases, scenes = drawn(5, suite)
    found = metric().score(cases, pictures(scenes))
    assert mean(found, "outline") > 0.93
    assert mean(found, "outline_own") == 1
    assert mean(found, "outline_variant") > 0.9
    assert mean(found, "outline_psnr") > 20
    assert mean(found, "outline_differs") == 0


def test_planted_faults_are_told_apart() -> None:
    judge = metric(model=None)
    assert judge.columns == ("outline", "outline_own", "outline_variant")
    cases, scenes = drawn(5)
    own = judge.score(cases, pictures(scenes))
    for change, column in ((another_form, "outline_variant"), (another_category, "outline_own")):
        changed = [replace(scene, subjects=tuple(change(s) for s in scene.subjects)) for scene in scenes]
        rows = judge.score(cases, pictures(changed))
        assert mean(rows, column) <= 0.2 and mean(own, column) > 0.9, column
        assert mean(rows, "outline") > 0.9  # they are as crisp as the others
    blobs = [image.filter(ImageFilter.GaussianBlur(6)) for image in pictures(scenes)]
    assert mean(judge.score(cases, blobs), "outline") < mean(own, "outline") - 0.05


def test_a_search_does_not_depend_on_its_company(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the bit, as crisp, blurred and empty pictures of several sizes are searched alone, in pairs, or all at once."""
    cases, scenes = drawn(5, "multi2")
    shown = pictures(scenes)
    shown[1] = shown[1].filter(ImageFilter.GaussianBlur(6))
    shown[2] = Image.new("RGB", shown[2].size, "white")
    shown[3] = Image.fromarray(backgrounds(scenes)[3].round().clip(0, 255).astype(np.uint8))
    judge, steps = metric(model=None), list[int]()
    real = outline.Posed
    monkeypatch.setattr(outline, "Posed", lambda values, poses: steps.append(len(values)) or real(values, poses))
    found, searches = list[list[dict[str, float]]](), list[int]()
    for together in (1, 2, 100):
        monkeypatch.setattr(outline, "TOGETHER", together)
        judge.score(cases, shown)  # outlines of all sizes are there
        steps.clear()
        found.append(judge.score(cases, shown))
        searches.append(len(steps))
    assert found[0] == found[1] == found[2]
    assert found[0] == [judge.score([case], [image])[0] for case, image in zip(cases, shown, strict=True)]
    assert searches[0] == 2 * len(cases) > searches[1] > searches[2]


def test_nothing_painted_has_no_outline() -> None:
    cases, scenes = drawn(2)
    empty = [Image.fromarray(ground.round().clip(0, 255).astype(np.uint8)) for ground in backgrounds(scenes)]
    assert mean(metric(model=None).score(cases, empty), "outline") < 0.02


def test_other_benchmarks_are_refused() -> None:
    with pytest.raises(InputError, match="scores cases of the microworld benchmark"):
        metric(model=None).score([Case("a", "b", "c", (), 0)], [Image.new("RGB", (8, 8))])
    assert metric(model=None).score([], []) == []
