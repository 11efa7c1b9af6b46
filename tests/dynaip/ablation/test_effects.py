"""Effects of axes: planted ones are found with their size, by hand from the arms' means, and none where none is."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from dynaip.ablation.axes import axes_of, contrasts, interactions
from dynaip.ablation.effects import answer, effects
from dynaip.ablation.statistics import collect

FUSIONS = {"hmoe": 0.0, "concat": 0.06, "average": 0.0}
POLICIES = {"dynamic": 0.0, "coupled": -0.08}


def config(fusion: str, policy: str, **more: Any) -> dict[str, Any]:
    return {"fusion": {"use": f"builtin:{fusion}"}, "decoupling": policy, "training": {"seed": 3, "steps": 5}, **more}


CONFIGS = {f"{one}-{two}": config(one, two) for one, two in product(FUSIONS, POLICIES)}


def rows(extra: float = 0.0) -> list[dict[str, Any]]:
    """Arms whose CP is the sum of their parts; ``extra`` is what concat-coupled alone has."""
    rng = np.random.default_rng(1)
    hard = rng.normal(0, 0.1, 60)
    return [
        {"arm": arm, "seed": 0, "suite": "single", "case": str(k), "pf": 0.8,
         "cp": 0.5 + hard[k] + FUSIONS[one] + POLICIES[two] + extra * (arm == "concat-coupled") + rng.normal(0, 0.02)}
        for arm in CONFIGS for one, two in [arm.split("-")] for k in range(60)
    ]  # fmt: skip


def test_axes_are_what_configs_differ_in() -> None:
    axes = axes_of(CONFIGS)
    assert {axis.name: axis.levels for axis in axes} == {
        "fusion": ("hmoe", "concat", "average"), "decoupling": ("dynamic", "coupled")}  # fmt: skip
    assert axes[0].of["concat-coupled"] == "concat"


def test_levels_that_are_mappings_are_called_by_their_arms() -> None:
    vit = [{"use": "vit", "levels": {"low": depth}} for depth in (0.2, 0.4)]
    made = {name: config("hmoe", "dynamic", encoder=encoder) for name, encoder in zip(("shallow", "deep"), vit)}
    (axis,) = axes_of(made)
    assert (axis.name, axis.levels, axis.of["deep"]) == ("encoder", ("shallow", "deep"), "deep")
    crossed = {f"{name}-{fusion}": config(fusion, "dynamic", encoder=encoder)
               for name, encoder in zip("sd", vit) for fusion in ("hmoe", "concat")}  # fmt: skip
    assert axes_of(crossed)[1].levels == ('vit levels={"low": 0.2}', 'vit levels={"low": 0.4}')


def test_axes_that_split_the_arms_alike_are_one() -> None:
    made = {
        "a": config("hmoe", "dynamic", adapter={"tokens": 4}),
        "b": config("concat", "dynamic", adapter={"tokens": 8}),
    }
    (axis,) = axes_of(made)
    assert (axis.name, axis.levels) == ("fusion and adapter.tokens", ("hmoe", "concat"))


def test_two_options_of_one_component_are_told_apart() -> None:
    made = {level: {"fusion": {"use": "builtin:single_layer", "level": level}} for level in ("low", "high")}
    assert axes_of(made)[0].levels == ("single_layer level=low", "single_layer level=high")


def test_seeds_and_arms_without_a_config_are_no_axis() -> None:
    assert not axes_of({"a": {"training": {"seed": 1}}, "b": {"training": {"seed": 2}}, "c": {}})


def test_pairs_differ_in_one_axis_alone() -> None:
    some = {arm: made for arm, made in CONFIGS.items() if arm != "concat-coupled"}
    found = {(each.level, each.other): each.pairs for each in contrasts(axes_of(some))}
    assert found["hmoe", "concat"] == (("hmoe-dynamic", "concat-dynamic"),)
    assert found["hmoe", "average"] == (("hmoe-dynamic", "average-dynamic"), ("hmoe-coupled", "average-coupled"))
    assert found["dynamic", "coupled"] == (("hmoe-dynamic", "hmoe-coupled"), ("average-dynamic", "average-coupled"))
    assert {one.first.other for one in interactions(axes_of(some))} == {"average"}


def test_planted_effects_are_found() -> None:
    table = rows()
    found = {each.contrast.other: each for each in effects(collect(table), CONFIGS).main}
    means = {arm: np.mean([row["cp"] for row in table if row["arm"] == arm]) for arm in CONFIGS}
    by_hand = np.mean([means[f"hmoe-{it}"] * 0.8 - means[f"concat-{it}"] * 0.8 for it in POLICIES])
    assert found["concat"].gap.value == pytest.approx(by_hand)
    assert found["concat"].parts["cp"].value == pytest.approx(by_hand / 0.8)
    assert [found[name].verdict for name in ("concat", "average", "coupled")] == ["lower", "open", "higher"]
    assert found["concat"].gap.low < 0.8 * -0.06 < found["concat"].gap.high
    said = " ".join(answer(effects(collect(table), CONFIGS)))
    assert "fusion: hmoe instead of concat lowers CP·PF in single" in said
    assert "decoupling: dynamic instead of coupled raises CP·PF in single" in said
    assert "hmoe instead of average makes no difference that can be told" in said
    assert "no interaction is clear of zero" in said


def test_a_planted_interaction_is_found() -> None:
    found = effects(collect(rows(extra=0.1)), CONFIGS)
    between = {each.interaction.first.other: each for each in found.between}
    assert between["concat"].gap.value == pytest.approx(0.1 * 0.8, abs=0.01)
    assert [between[name].verdict for name in ("concat", "average")] == ["higher", "open"]
    assert (
        "hmoe − concat is 0.0" in answer(found)[-1] and "higher under dynamic than under coupled" in answer(found)[-1]
    )


def test_p_values_are_corrected_for_their_number() -> None:
    found = effects(collect(rows()), CONFIGS).main
    raw = sorted(each.gap.p for each in found)
    assert sorted(each.adjusted for each in found) == pytest.approx(
        np.maximum.accumulate([min(1, p * n) for p, n in zip(raw, (3, 2, 1), strict=True)]).tolist()
    )


def test_without_axes_or_scores_nothing_is_said() -> None:
    assert answer(effects(collect(rows()), {})) == []
    assert effects([], CONFIGS).main == ()
