"""Cases of microworld: unseen identities, regions that hold their subject, stable by seed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, binary_fill_holes

from dynaip.config import ComponentSpec
from dynaip.errors import InputError
from dynaip.registry import registry
from dynaip_plugins.microworld.world.render import render, subject_mask
from dynaip_plugins.microworld.world.scenes import Identity, sample_scene
from dynaip_plugins.microworld.world.vocabulary import IDENTITY


def build(**options: Any) -> Any:
    return registry().build(ComponentSpec.parse("benchmark", {"use": "microworld", **options}))


@pytest.mark.parametrize(("suite", "subjects"), [("single", 1), ("multi2", 2), ("multi3", 3), ("multi4", 4)])
def test_suites(suite: str, subjects: int) -> None:
    cases = build(**{suite: 12}).cases(suite)
    assert len(cases) == 12
    assert len({case.id for case in cases}) == 12
    for case in cases:
        assert len(case.references) == len(case.truth["subjects"]) == subjects
        for reference, truth in zip(case.references, case.truth["subjects"], strict=True):
            assert reference.region == (None if subjects == 1 else truth["region"])
            names = {name: values[truth["labels"][name]] for name, values in IDENTITY.items()}
            assert Identity(**names).split == "test"
            assert all(truth["labels"][name] == truth["reference"][name] for name in [*IDENTITY, "category"])


def test_same_seed_same_cases_whatever_the_size() -> None:
    few, many = build(single=3).cases("single", seed=1), build(single=9).cases("single", seed=1)
    assert [(c.id, c.prompt, c.seed) for c in few] == [(c.id, c.prompt, c.seed) for c in many[:3]]
    assert few[0].references[0].image.tobytes() == many[0].references[0].image.tobytes()
    assert build(single=3).cases("single", seed=2)[0].seed != few[0].seed


def test_masks_are_where_another_identity_would_show() -> None:
    """What changes with the identity's colours is the subject, but for its edge and the emblem inside it."""
    for seed in range(6):
        scene = sample_scene(np.random.default_rng(seed), 1)
        subject = scene.subjects[0]
        who = subject.identity
        others = [colour for colour in IDENTITY["main"] if colour not in (who.main, who.second)]
        repainted = replace(subject, identity=replace(who, main=others[0], second=others[1]))
        drawn = render([scene, replace(scene, subjects=(repainted,))]).astype(int)
        changed, mask = np.abs(drawn[0] - drawn[1]).max(-1) > 64, subject_mask(scene)
        assert not (changed & ~binary_dilation(mask)).any()
        assert (binary_fill_holes(changed) & mask).sum() > 0.95 * mask.sum()
        assert mask.sum() > 400


def test_cases_know_the_masks_of_their_references() -> None:
    case = build(multi2=1).cases("multi2")[0]
    first, second = (reference.mask() for reference in case.references)
    assert first.shape == (128, 128)
    assert case.size == (128, 128) and case.references[0].image.size == (128, 128)
    assert not np.array_equal(first, second)


def test_unknown_suite() -> None:
    with pytest.raises(
        InputError, match=r"no suite multi5; there are single, multi2, multi3, multi4. Did you mean multi"
    ):
        build().cases("multi5")
