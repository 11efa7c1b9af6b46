"""Arms, trainings, and which of them share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dynaip.ablation.plan import make_plan
from dynaip.config import load_ablation
from dynaip.errors import InputError
from dynaip.plain import name_problem
from dynaip.reading import read_mapping


def test_demo_is_eight_arms_from_four_trainings() -> None:
    plan = make_plan(load_ablation("microworld/demo"))
    arms = [arm for arm in plan.arms if arm.training]
    assert len(arms) == 8
    assert len(plan.trainings) == 4
    by_name = {arm.name: arm for arm in arms}
    assert by_name["hmoe-text_only"].training == by_name["hmoe-dynamic"].training == by_name["hmoe-coupled"].training
    assert by_name["hmoe-image_only"].training != by_name["hmoe-dynamic"].training
    assert [arm.run for arm in plan.arms if arm.training is None] == ["base", "microworld"]
    assert len({arm.folder for arm in plan.arms}) == len(plan.arms)


def test_text_only_trains_alone_where_nothing_serves_it(ablation_file: Callable[..., Path]) -> None:
    file = ablation_file({"axes": {"decoupling": ["text_only", "image_only"]}})
    assert len(make_plan(load_ablation(file)).trainings) == 2
    alone = [{"use": "text_only", "shared": False}, "dynamic"]
    assert len(make_plan(load_ablation(ablation_file({"axes": {"decoupling": alone}}))).trainings) == 2


def test_seeds_multiply_trainings(ablation_file: Callable[..., Path]) -> None:
    plan = make_plan(load_ablation(ablation_file({"seeds": [0, 1, 2]})))
    assert len(plan.arms) == 6
    assert len(plan.trainings) == 3
    assert sorted({training.config.training.seed for training in plan.trainings}) == [0, 1, 2]


def test_groups_hold_a_training_and_its_arms(ablation_file: Callable[..., Path]) -> None:
    plan = make_plan(load_ablation(ablation_file({"baselines": ["base", "microworld"]})))
    (training,) = plan.trainings
    groups = [(name, [arm.name for arm in arms]) for name, arms in plan.groups()]
    assert groups[0] == (training.hash, ["dynamic", "coupled"])
    assert [arms for _, arms in groups[1:]] == [["base"], ["microworld"]]  # one process each
    assert len({name for name, _ in groups}) == 3


def test_matched_parameters_over_routers_and_levels(ablation_file: Callable[..., Path]) -> None:
    """A prompt-aware router is counted with the base's pooled prompt (128), and arms of other levels match as well."""
    from dynaip.ablation.matching import count

    arms = [
        {"name": "prompted", "fusion": {"use": "hmoe", "router": "prompt"}},
        {"name": "plain", "fusion": "hmoe"},
        {"name": "two", "fusion": "concat", "encoder.levels": {"low": 1, "high": 4}},
    ]
    plan = make_plan(load_ablation(ablation_file({"arms": arms, "match_parameters": True})))
    sizes = {
        arm.name: count(
            arm.config.fusion, widths=dict.fromkeys(arm.config.encoder.config.levels, 24), dim=16, condition_dim=128
        )
        for arm in plan.arms
    }
    assert max(sizes.values()) / min(sizes.values()) < 1.02
    routers = {arm.name: arm.config.fusion.config.router for arm in plan.arms if arm.name in ("prompted", "plain")}
    assert routers == {"prompted": "prompt", "plain": "token"}


def test_matched_parameters(ablation_file: Callable[..., Path]) -> None:
    """Every fusion comes within one percent of the largest."""
    from dynaip.ablation.matching import count

    axes = {"fusion": ["hmoe", "concat", {"use": "single_layer", "level": "high"}, "average"]}
    plan = make_plan(load_ablation(ablation_file({"axes": axes, "match_parameters": True})))
    widths = {"low": 24, "mid": 24, "high": 24}
    sizes = [count(arm.config.fusion, widths=widths, dim=16, condition_dim=None) for arm in plan.arms]
    assert max(sizes) / min(sizes) < 1.02


def test_options_of_sections_come_back_from_the_plan(ablation_file: Callable[..., Path], tmp_path: Path) -> None:
    """They are read as they stand in the file, keys and all, and written as plain YAML of either version."""
    wanted = {"interventions": {"in_report": True, "kind": "swap", "branches": ["image"]}, "routing": False}
    make_plan(load_ablation(ablation_file({"report": wanted}))).write(tmp_path / "plan.yaml")
    assert read_mapping(tmp_path / "plan.yaml")["report"] == wanted


POLICIES = '''
"""Policies of one's own, each served by others at inference."""
from dynaip.config import PolicyConfig
from dynaip.contracts import DecouplingPolicy
from dynaip.registry import Component, hookimpl

SERVED = {"first": [], "second": ["first"], "third": ["second"], "either": ["second", "first"],
          "one": ["other"], "other": ["one"]}


def config_of(name):
    class Config(PolicyConfig):
        """No options."""

        def training_part(self):
            return {"is": name}

        def served_by(self):
            return [{"is": each} for each in SERVED[name]]

    return Config


class Policy(DecouplingPolicy):
    """Never built here."""


@hookimpl
def dynaip_components():
    return [Component("decoupling", name, Policy, config_of(name)) for name in SERVED]
'''


@pytest.fixture(scope="session")
def policies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plugins") / "borrowing.py"
    path.write_text(POLICIES)
    return path


@pytest.mark.parametrize(
    ("arms", "trained"),
    [
        (["first", "second"], {"first": "first", "second": "first"}),
        (["second", "first"], {"first": "first", "second": "first"}),
        (["second", "third"], {"second": "second", "third": "second"}),
        (["first", "second", "third"], {"first": "first", "second": "first", "third": "third"}),
        (["first", "second", "either"], {"first": "first", "second": "first", "either": "first"}),
        (["one", "other"], {"one": "one", "other": "other"}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_an_adapter_is_borrowed_from_an_arm_that_trains_it(
    ablation_file: Callable[..., Path], policies: Path, arms: list[str], trained: dict[str, str]
) -> None:
    """Whoever borrows lends nothing: every training is that of an arm that asked for it."""
    file = ablation_file({"axes": {"decoupling": arms}, "plugins": [str(policies)]})
    plan = make_plan(load_ablation(file))
    own = {arm.name: arm.config.training_hash() for arm in plan.arms}
    assert {arm.name: arm.training for arm in plan.arms} == {name: own[lender] for name, lender in trained.items()}
    assert {each.hash for each in plan.trainings} == {own[lender] for lender in trained.values()}
    assert all(each.hash == each.config.training_hash() for each in plan.trainings)
    borrowed = {arm.name for arm in plan.arms if arm.why.startswith("an adapter trained with other")}
    assert borrowed == {name for name, lender in trained.items() if name != lender}


@pytest.mark.parametrize(
    "runs", [["base", "base"], ["microworld", "elsewhere/microworld"], ["a b", "a_b"], ["dynamic"]]
)
def test_no_two_columns_have_one_name(ablation_file: Callable[..., Path], runs: list[str]) -> None:
    with pytest.raises(InputError, match=r"baselines: .* like another arm; rename one"):
        make_plan(load_ablation(ablation_file({"baselines": runs})))


def test_a_seed_given_twice_is_refused(ablation_file: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match="with seed 1 is there 2 times"):
        make_plan(load_ablation(ablation_file({"seeds": [1, 1]})))


@pytest.mark.parametrize("run", ["/tmp/../..", "runs/x y/", "~/..", "a/=cmd()|", "\x1b[31m"])
def test_baselines_are_called_by_plain_names(ablation_file: Callable[..., Path], run: str) -> None:
    arm = make_plan(load_ablation(ablation_file({"baselines": [run]}))).arms[-1]
    assert Path(arm.folder).name == arm.folder
    assert name_problem(arm.name) == ""
