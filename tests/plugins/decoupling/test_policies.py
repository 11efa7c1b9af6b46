"""The policies against the table of docs/concepts/method.md, and the schedule's curves by hand."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from dynaip.config import ComponentSpec
from dynaip.contracts import BranchWeights
from dynaip.errors import ConfigError
from dynaip.registry import registry

TABLE = {
    "dynamic": ((1, 1), (1, 0)),
    "coupled": ((1, 1), (1, 1)),
    "image_only": ((1, 0), (1, 0)),
    "text_only": ((0, 1), (0, 1)),
}


def build(spec: Any) -> Any:
    return registry().build(ComponentSpec.parse("decoupling", spec))


@pytest.mark.parametrize("name", TABLE)
def test_table(name: str) -> None:
    policy = build(name)
    for phase, (image, text) in zip(("training", "inference"), TABLE[name], strict=True):
        for block, progress in ((0, 0.0), (3, 0.5), (18, 1.0)):
            assert policy.weights(phase, block=block, blocks=19, progress=progress) == BranchWeights(image, text)
        assert policy.branches(phase) == {b for b, w in (("image", image), ("text", text)) if w}
    image, text = TABLE[name][0]
    assert ComponentSpec.parse("decoupling", name).config.training_part() == {"image": image, "text": text}


def test_what_serves_text_only() -> None:
    both = {"image": 1.0, "text": 1.0}
    assert ComponentSpec.parse("decoupling", "text_only").config.served_by() == [both]
    assert ComponentSpec.parse("decoupling", {"use": "text_only", "shared": False}).config.served_by() == []
    assert ComponentSpec.parse("decoupling", "image_only").config.served_by() == []


def test_schedule_by_hand() -> None:
    policy = build(
        {
            "use": "scheduled",
            "training": {"image": 1, "text": 0.5},
            "image": {"progress": [[0.2, 0.0], [0.6, 1.0]], "blocks": [[0.0, 1.0], [1.0, 0.5]]},
            "text": {"progress": 0.25, "blocks": [[0.5, 1.0], [1.0, 1.0]]},
        }
    )
    assert policy.weights("training", block=9, blocks=11, progress=0.1) == BranchWeights(1, 0.5)

    def at(block: int, progress: float) -> tuple[float, float]:
        found = policy.weights("inference", block=block, blocks=11, progress=progress)
        return found.image, found.text

    assert at(0, 0.4) == pytest.approx((0.5, 0.0))
    assert at(10, 0.4) == pytest.approx((0.25, 0.25))
    assert at(5, 0.5) == pytest.approx((0.75 * 0.75, 0.25))
    assert at(0, 0.1)[0] == 0.0
    assert at(0, 0.7)[0] == 0.0
    assert policy.branches("inference") == {"image", "text"}
    assert build("scheduled").branches("inference") == {"image"}


def test_a_step_outside_the_schedule_is_exactly_zero() -> None:
    policy = build({"use": "scheduled", "image": {"progress": [[0.25, 1.0], [0.75, 1.0]]}})
    found = [policy.weights("inference", block=0, blocks=4, progress=step / 8).image for step in range(9)]
    assert found == [0, 0, 1, 1, 1, 1, 1, 0, 0]


def test_a_schedule_may_hold_a_single_point_and_a_model_a_single_block() -> None:
    policy = build({"use": "scheduled", "image": {"blocks": [[0.0, 0.5]]}})
    assert [policy.weights("inference", block=block, blocks=3, progress=0.3).image for block in range(3)] == [0.5, 0, 0]
    assert policy.weights("inference", block=0, blocks=1, progress=0.3).image == 0.5


@pytest.mark.parametrize("seed", range(10))
def test_a_branch_counts_as_closed_only_if_it_is_zero_everywhere(seed: int) -> None:
    chance = np.random.default_rng(seed)
    places = sorted(chance.random(3).tolist())
    weights = (chance.random(3) * (chance.random(3) > 0.6)).tolist()
    policy = build({"use": "scheduled", "text": {"progress": list(map(list, zip(places, weights, strict=True)))}})
    seen = [policy.weights("inference", block=0, blocks=2, progress=p).text for p in [*np.linspace(0, 1, 500), *places]]
    assert any(seen) == ("text" in policy.branches("inference"))


BAD_CURVES = [[], [[0.5, 1], [0.2, 1]], [[0.2, 1], [0.2, 0]], [[-0.1, 1], [1, 1]], [[0, 1], [1.5, 1]], [[0, 1], 3]]
BAD_CURVES += [[[0, -1], [1, 1]], [[float("nan"), 1], [1, 1]], [[0, float("inf")]], -1, float("nan"), "on", None]


@pytest.mark.parametrize("curve", BAD_CURVES)
@pytest.mark.parametrize("axis", ["progress", "blocks"])
def test_bad_curves_are_refused(axis: str, curve: Any) -> None:
    line = rf"decoupling.text.{axis}: must be a number from 0 up, or points .* whose places rise within 0 and 1"
    with pytest.raises(ConfigError, match=line) as caught:
        build({"use": "scheduled", "text": {axis: curve}})
    assert "more)" not in str(caught.value)


def test_training_needs_an_open_branch() -> None:
    with pytest.raises(ConfigError, match=r"decoupling.training: at least one branch"):
        build({"use": "scheduled", "training": {"image": 0, "text": 0}})


def test_policies_that_train_alike_share_a_training() -> None:
    parts = {name: ComponentSpec.parse("decoupling", name).config.training_part() for name in [*TABLE, "scheduled"]}
    assert parts["dynamic"] == parts["coupled"] == parts["scheduled"]
    assert (
        parts["image_only"]
        == ComponentSpec.parse(
            "decoupling", {"use": "scheduled", "training": {"image": 1, "text": 0}, "image": {"progress": 0.5}}
        ).config.training_part()
    )


def test_configs_survive_being_saved() -> None:
    raw = {"use": "scheduled", "image": {"progress": [[0, 1], [0.5, 0]]}, "text": {"blocks": 0.5}}
    spec = ComponentSpec.parse("decoupling", raw)
    assert ComponentSpec.parse("decoupling", json.loads(json.dumps(spec.dump()))) == spec
