"""The policies against the table of docs/method.md, and the schedule's curves by hand."""

from __future__ import annotations

from typing import Any

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
    assert ComponentSpec.parse("decoupling", name).config.training_part() == {"image": TABLE[name][0][0], "text": TABLE[name][0][1]}


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


@pytest.mark.parametrize("points", [[], [[0.5, 1], [0.2, 1]], [[-0.1, 1], [1, 1]], [[0, 1], [1.5, 1]]])
def test_bad_curves_are_refused(points: list[Any]) -> None:
    with pytest.raises(ConfigError, match="rise within 0 and 1"):
        build({"use": "scheduled", "image": {"progress": points}})
