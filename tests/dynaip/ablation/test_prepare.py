"""The folder of an ablation before anything runs: filled, refused, or filled again where it is damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml

from dynaip.ablation.folder import FINISHED, WAITING, AblationFolder, ArmGroup
from dynaip.ablation.plan import Plan, make_plan
from dynaip.ablation.prepare import prepare
from dynaip.atomic import write_table
from dynaip.config import load_ablation, load_experiment
from dynaip.errors import InputError
from dynaip.notes import Note

Write = Callable[..., Path]


@pytest.fixture
def plan(ablation_file: Write) -> Plan:
    return make_plan(load_ablation(ablation_file({"baselines": ["base"]})))


@pytest.fixture
def folder(tmp_path: Path) -> AblationFolder:
    (tmp_path / "out").mkdir()
    return AblationFolder(tmp_path / "out")


def test_workers_find_what_they_need(plan: Plan, folder: AblationFolder) -> None:
    prepare(plan, [], folder)
    training, base = (ArmGroup.read(folder.group(name)) for name, _ in plan.groups())
    assert [arm.name for arm in training.arms] == ["dynamic", "coupled"]
    assert (training.training, training.steps) == (plan.trainings[0].hash, 4)
    assert (base.training, base.steps, base.arms[0].run) == (None, None, "base")
    assert load_experiment(folder.training_config(plan.trainings[0].hash)).training.steps == 4
    assert load_experiment(folder.arm(training.arms[1].folder).config).decoupling.name == "coupled"
    assert json.loads(folder.environment.read_text())["python"]


def test_trainings_on_the_same_pairs_and_encoders_share(ablation_file: Write, folder: AblationFolder) -> None:
    arms = [{"fusion": "last", "name": "same"}, {"fusion": "last", "encoder": "pixels", "name": "other"}]
    plan = make_plan(load_ablation(ablation_file({"arms": arms, "baselines": ["base"]})))
    prepare(plan, [], folder)
    groups = [ArmGroup.read(folder.group(name)) for name, _ in plan.groups()]
    assert {group.arms[0].name: group.shares for group in groups} == {
        "dynamic": True, "same": True, "other": False, "base": False,
    }  # fmt: skip


def test_the_same_plan_goes_on_and_another_is_refused(plan: Plan, folder: AblationFolder, ablation_file: Write) -> None:
    prepare(plan, [], folder)
    prepare(plan, [], folder)
    other = make_plan(load_ablation(ablation_file({"axes": {"decoupling": ["dynamic"]}})))
    with pytest.raises(
        InputError, match=r"another ablation \(arms that differ: base, coupled\): choose another folder"
    ):
        prepare(other, [], folder)
    longer = make_plan(load_ablation(ablation_file({"baselines": ["base"]}), ["training.steps=9"]))
    with pytest.raises(InputError, match=r"arm dynamic differs in training.steps \(4 there, 9 here\)"):
        prepare(longer, [], folder)


def test_a_folder_of_something_else_is_refused(plan: Plan, folder: AblationFolder) -> None:
    (folder.path / ".hidden").write_text("")
    prepare(plan, [], folder)
    folder.plan.unlink()
    prepare(plan, [], folder)  # the same arms lie there
    assert folder.plan.exists()
    elsewhere = AblationFolder(folder.path.parent / "full")
    elsewhere.path.mkdir()
    (elsewhere.path / "thesis.tex").write_text("")
    with pytest.raises(InputError, match="is not empty and holds no ablation"):
        prepare(plan, [], elsewhere)
    assert [entry.name for entry in elsewhere.path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("text", ["arms: [", "arms: 3", "- 1", "arms: [{name: x}]", "a: " + "[" * 3000, ""])
def test_a_damaged_plan_is_written_again_and_said(plan: Plan, folder: AblationFolder, text: str) -> None:
    prepare(plan, [], folder)
    whole = folder.plan.read_text()
    folder.plan.write_text(text)
    with pytest.warns(Note, match=r"plan.yaml is damaged; it is written again"):
        prepare(plan, [], folder)
    assert folder.plan.read_text() == whole


def test_a_damaged_config_of_an_arm_is_no_reason_to_fail(
    plan: Plan, folder: AblationFolder, ablation_file: Write
) -> None:
    prepare(plan, [], folder)
    config = folder.arm(plan.arms[0].folder).config
    whole = config.read_text()
    config.write_text("a: [")
    longer = make_plan(load_ablation(ablation_file({"baselines": ["base"]}), ["training.steps=9"]))
    with pytest.raises(InputError, match="holds another ablation"):
        prepare(longer, [], folder)
    prepare(plan, [], folder)
    assert config.read_text() == whole


def test_a_finished_arm_with_damage_waits_again(plan: Plan, folder: AblationFolder) -> None:
    prepare(plan, [], folder)
    one, two, *_ = (folder.arm(arm.folder) for arm in plan.arms)
    for arm in (one, two):
        write_table(arm.scores, pd.DataFrame([{"case": "c", "suite": "s", "seed": 0, "cp": 0.5}]))
        arm.mark(FINISHED)
    two.scores.write_bytes(b"")
    with pytest.warns(Note, match=r"scores.parquet is damaged.*; it is made again"):
        prepare(plan, [], folder)
    assert (one.state(), two.state()) == (FINISHED, WAITING)


def test_what_an_earlier_version_made_of_the_same_arms_goes_on(plan: Plan, folder: AblationFolder) -> None:
    """An earlier version did not know an option: its configs lack the line, and its hashes are others."""
    prepare(plan, [], folder)
    data = yaml.safe_load(folder.plan.read_text())
    for entry in data["arms"]:
        arm, name = folder.arm(entry["folder"]), f"{entry['name']}-000000000000"
        config = yaml.safe_load(arm.config.read_text())
        del config["training"]["weight_decay"]
        arm.config.write_text(yaml.safe_dump(config))
        write_table(arm.scores, pd.DataFrame([{"case": entry["name"], "suite": "s", "seed": 0, "cp": 0.5}]))
        arm.mark(FINISHED)
        arm.path.rename(folder.arm(name).path)
        entry["folder"] = name
        if entry.get("training"):
            entry["training"] = "older"
    folder.training("older").path.mkdir()
    (folder.training("older").path / "mark").write_text("")
    folder.plan.write_text(yaml.safe_dump(data))
    prepare(plan, [], folder)
    for arm in plan.arms:
        assert pd.read_parquet(folder.arm(arm.folder).scores)["case"].tolist() == [arm.name]
        assert folder.arm(arm.folder).finished()
    assert {entry.name for entry in folder.arms.iterdir()} == {arm.folder for arm in plan.arms}
    assert (folder.training(plan.trainings[0].hash).path / "mark").exists()
    assert sorted(entry.name for entry in folder.trainings.iterdir()) == sorted(
        [plan.trainings[0].hash, f"{plan.trainings[0].hash}.yaml"]
    )


def test_an_option_with_another_value_is_no_earlier_version(plan: Plan, folder: AblationFolder) -> None:
    prepare(plan, [], folder)
    data = yaml.safe_load(folder.plan.read_text())
    entry = data["arms"][0]
    arm = folder.arm(entry["folder"])
    config = yaml.safe_load(arm.config.read_text())
    config["training"]["weight_decay"] = 0.5
    arm.config.write_text(yaml.safe_dump(config))
    arm.path.rename(folder.arm("dynamic-000000000000").path)
    entry["folder"] = "dynamic-000000000000"
    folder.plan.write_text(yaml.safe_dump(data))
    with pytest.raises(InputError, match=r"arm dynamic differs in training.weight_decay \(0.5 there, 0.01 here\)"):
        prepare(plan, [], folder)
