"""Parameter counts against the formula written out, and widening within one percent."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest
import torch

from dynaip.ablation.matching import count, match_parameters
from dynaip.config import ComponentConfig, ComponentSpec
from dynaip.contracts import FeatureFusion, FusedReference
from dynaip.notes import Note
from dynaip.registry import Component, registry

WIDTHS, D, C = {"low": 96, "mid": 112, "high": 128}, 128, 48


def spec(raw: Any) -> ComponentSpec:
    return ComponentSpec.parse("fusion", raw)


def parameters(raw: Any) -> int:
    return count(spec(raw), widths=WIDTHS, dim=D, condition_dim=C)


def mlp(width: int, hidden: int) -> int:
    return width * hidden + hidden + hidden * D + D


def norms(*widths: int) -> int:
    return sum(2 * width for width in widths)


def test_counts_by_formula() -> None:
    each, total = list(WIDTHS.values()), sum(WIDTHS.values())
    experts = sum(mlp(width, D) for width in each)
    router, projection = total * 3 + 3, D * D + D
    assert parameters("hmoe") == norms(*each, D) + experts + router + projection
    assert parameters({"use": "hmoe", "router": "prompt"}) == parameters("hmoe") + C * 3
    gates = sum(width * 2 + 2 for width in each)
    assert parameters({"use": "hmoe", "experts_per_level": 2}) == parameters("hmoe") + experts + gates
    assert parameters("average") == parameters("token_concat") == norms(*each, D) + experts
    assert parameters("concat") == norms(*each, D) + mlp(total, D)
    assert parameters({"use": "single_layer", "level": "low"}) == norms(96, D) + mlp(96, D)
    layer = norms(D, D, D) + 4 * D * D + mlp(D, 4 * D)
    assert parameters("resampler") == norms(*each, D) + total * D + D + 16 * D + 2 * layer
    assert parameters({"use": "concat", "output_norm": False}) == parameters("concat") - norms(D)


def test_counting_takes_no_memory_and_no_chance() -> None:
    before = torch.get_rng_state()
    large = count(spec({"use": "concat", "hidden": 200_000}), widths=WIDTHS, dim=4096, condition_dim=None)
    assert large > 800_000_000
    assert torch.equal(torch.get_rng_state(), before)


def test_smaller_fusions_are_widened_to_within_one_percent() -> None:
    names = ["hmoe", "concat", "single_layer", "average", "token_concat", "resampler"]
    specs = {name: spec(name) for name in names} | {"wide": spec({"use": "hmoe", "experts_per_level": 3})}
    matched, counts = match_parameters(specs, widths=WIDTHS, dim=D, condition_dim=C)
    largest = max(count(each, widths=WIDTHS, dim=D, condition_dim=C) for each in specs.values())
    assert counts["resampler"] == largest
    assert matched["resampler"] == specs["resampler"]
    for name, each in matched.items():
        built = registry().build(each, widths=WIDTHS, dim=D, condition_dim=C)
        assert sum(parameter.numel() for parameter in built.parameters()) == counts[name]
        assert abs(counts[name] / largest - 1) < 0.01, (name, counts[name], largest)
    same = {name: each.config.model_dump(exclude={"hidden"}) for name, each in specs.items()}
    assert {name: each.config.model_dump(exclude={"hidden"}) for name, each in matched.items()} == same
    assert ComponentSpec.parse("fusion", matched["concat"].dump()) == matched["concat"]


class Deaf(ComponentConfig):
    """Has the option, and does not grow with it."""

    hidden: int | None = None

    def widened(self, hidden: int) -> Deaf:
        return self.model_copy(update={"hidden": hidden})


class Small(ComponentConfig):
    """Does not say how it widens, whatever its options are called."""

    hidden: int | None = None


class DeafFusion(FeatureFusion):
    def __init__(self, config: Any, *, widths: Any, dim: int, condition_dim: int | None = None) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(dim))

    def forward(self, levels: Any, *, coefficients: Any = None, condition: Any = None) -> FusedReference:
        return FusedReference(next(iter(levels.values())))


@pytest.fixture
def strangers() -> Generator[None]:
    registry().register(Component("fusion", "deaf", DeafFusion, Deaf))
    registry().register(Component("fusion", "small", DeafFusion, Small))
    yield
    from dynaip import registry as module

    module._current.clear()


@pytest.mark.usefixtures("strangers")
def test_fusions_that_cannot_grow_are_left_and_counted() -> None:
    specs = {"deaf": spec("deaf"), "small": spec("small"), "hmoe": spec("hmoe")}
    with pytest.warns(Note, match="fusion (deaf|small) stays at 128 parameters") as told:
        matched, counts = match_parameters(specs, widths=WIDTHS, dim=D, condition_dim=C)
    assert len(told) == 2
    assert matched == specs
    assert counts == {"deaf": D, "small": D, "hmoe": parameters("hmoe")}


def test_one_linear_layer_stays_one_linear_layer() -> None:
    specs = {"one": spec("projection"), "two": spec({"use": "projection", "hidden": 64}), "hmoe": spec("hmoe")}
    with pytest.warns(Note, match="fusion projection stays at"):
        matched, counts = match_parameters(specs, widths=WIDTHS, dim=D, condition_dim=C)
    assert matched["one"] == specs["one"]
    assert matched["two"].config.model_dump(exclude={"hidden"}) == specs["two"].config.model_dump(exclude={"hidden"})
    assert abs(counts["two"] / counts["hmoe"] - 1) < 0.01
