"""The cases of an ablation whose arms are judged on different ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dynaip.ablation.cases import cases_of
from dynaip.ablation.plan import Arm, make_plan
from dynaip.config import load_ablation
from dynaip.evaluation.cases import benchmark_cases
from dynaip.notes import Note


@pytest.fixture
def arm(ablation_file: Callable[..., Path]) -> Arm:
    return make_plan(load_ablation(ablation_file({}))).arms[0]


def judged(arm: Arm, name: str, **changes: Any) -> Arm:
    """The arm, judged in another way."""
    evaluation = arm.config.evaluation
    assert evaluation
    return replace(
        arm, name=name, config=arm.config.model_copy(update={"evaluation": evaluation.model_copy(update=changes)})
    )


def test_cases_of_every_arm_are_there_once(arm: Arm, recwarn: pytest.WarningsRecorder) -> None:
    one = judged(arm, "one", suites=["single"], limit=2)
    other = judged(arm, "other", suites=["multi2", "single"], limit=1)
    found = cases_of([one, other, replace(one, name="again")])
    assert [case.suite for case in found] == ["single", "single", "multi2"]
    asked = {case.id for each in (one, other) for case in benchmark_cases(each.config.evaluation)}  # pyright: ignore
    assert {case.id for case in found} == asked
    assert not [each for each in recwarn if issubclass(each.category, Note)]


def test_one_name_for_two_cases_is_said(arm: Arm) -> None:
    one, other = (
        judged(arm, name, suites=["single"], limit=1, seed=seed) for seed, name in enumerate(("one", "other"))
    )
    with pytest.warns(Note, match="other paints another case .* than one: the report shows that of one"):
        (case,) = cases_of([one, other])
    (first,) = benchmark_cases(one.config.evaluation)  # pyright: ignore
    assert case.prompt == first.prompt
