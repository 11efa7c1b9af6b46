"""Fills the folder of an ablation with its plan and with everything that workers read; refuses the folder of another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dynaip.ablation.cases import write_cases
from dynaip.ablation.folder import WAITING, AblationFolder, ArmGroup, GroupArm
from dynaip.ablation.plan import Arm, Plan
from dynaip.atomic import write_json, write_text
from dynaip.config import ExperimentConfig, load_saved
from dynaip.config.differences import differences
from dynaip.config.experiment import fingerprint
from dynaip.contracts import Case
from dynaip.errors import InputError
from dynaip.notes import tell
from dynaip.reading import mapping, read_mapping
from dynaip.registry import registry
from dynaip.runs import environment


def prepare(plan: Plan, cases: Sequence[Case], folder: AblationFolder) -> None:
    """Write plan, configs, groups and cases, and let damaged arms be done again; ``InputError`` for another plan's folder."""
    _check(plan, folder)
    plan.write(folder.plan)
    write_json(folder.environment, environment())
    for training in plan.trainings:
        write_text(folder.training_config(training.hash), training.config.to_yaml())
    for arm in plan.arms:
        write_text(folder.arm(arm.folder).config, arm.config.to_yaml())
    steps = {training.hash: training.config.training.steps for training in plan.trainings}
    plugins = [str(file) for file in registry().files]
    read = {training.hash: what_is_encoded(training.config) for training in plan.trainings}
    alike = Counter(read.values())
    for name, arms in plan.groups():
        entries = [GroupArm(arm.name, arm.folder, arm.run) for arm in arms]
        training = name if name in steps else None
        shares = training is not None and alike[read[training]] > 1
        ArmGroup(name, entries, training, steps.get(name), plan.threads, plugins, shares).write(folder.group(name))
    write_cases(cases, folder)
    for arm in plan.arms:
        damage = folder.arm(arm.folder).damage()
        for line in damage:
            tell(f"{line}; it is made again", kind=f"damaged {arm.folder}")
        if damage:
            folder.arm(arm.folder).mark(WAITING)


def what_is_encoded(config: ExperimentConfig) -> str:
    """A fingerprint of what says which encodings a training asks for; trainings of which it is the same may share them."""
    return fingerprint([config.backbone.dump(), config.encoder.dump(), config.source.dump()])


def _check(plan: Plan, folder: AblationFolder) -> None:
    same = {entry.name for entry in folder.arms.glob("*")} == {arm.folder for arm in plan.arms}
    if not folder.plan.exists():
        if not same and any(not entry.name.startswith(".") for entry in folder.path.iterdir()):
            raise InputError(f"{folder.path} is not empty and holds no ablation: choose another folder with -o")
        return
    try:
        old, new = ({each["folder"]: each for each in some["arms"]} for some in (mapping(folder.plan), plan.resolved()))
    except (InputError, AttributeError, TypeError, KeyError) as error:
        if same:  # the folders' names hold the hashes of the arms
            tell(f"{folder.plan} is damaged; it is written again")
            return
        raise InputError(
            f"{folder.plan} is damaged, and other arms lie beside it: choose another folder with -o"
        ) from error
    if set(old) != set(new) and not _adopted(plan, folder, old):
        changed = _changed(plan, folder, old, new)
        raise InputError(f"{folder.path} holds another ablation ({changed}): choose another folder with -o")


def _adopted(plan: Plan, folder: AblationFolder, old: Mapping[str, Any]) -> bool:
    """Rename what an earlier version made of the same arms: an option that came later, at its default, changes hashes alone."""
    twins: dict[str, Arm] = {}
    trainings: dict[str, str] = {}
    for name, each in old.items():
        arm = next((arm for arm in plan.arms if (arm.name, arm.seed) == (each["name"], each.get("seed"))), None)
        if arm is None or each.get("run") != arm.run or not _means(folder.arm(name).config, arm.config):
            return False
        twins[name] = arm
        if arm.training:
            trainings[str(each.get("training"))] = arm.training
    if len(twins) != len(plan.arms) or len(set(trainings.values())) != len(trainings):
        return False
    for name, arm in twins.items():
        folder.arm(name).path.rename(folder.arm(arm.folder).path)
    for name, training in trainings.items():
        if folder.training(name).path.is_dir():
            folder.training(name).path.rename(folder.training(training).path)
        folder.training_config(name).unlink(missing_ok=True)
    return True


def _means(file: Path, config: ExperimentConfig) -> bool:
    """Whether a saved config, read as today, is the one given; where its plugin files lie does not count."""
    try:
        return load_saved(file).hash() == config.hash()
    except InputError:
        return False


def _changed(plan: Plan, folder: AblationFolder, old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Name what changed: an option of an arm that both have, or else the arms that only one of them has."""
    for arm in plan.arms:
        twins = [name for name, each in old.items() if (each["name"], each["seed"]) == (arm.name, arm.seed)]
        before = read_mapping(folder.arm(twins[0]).config) if twins and arm.folder not in old else {}
        found = [f"{path} ({was} there, {now} here)" for path, was, now in differences(before, arm.config.resolved())]
        if before and found:
            return f"arm {arm.name} differs in {', '.join(found[:3])}"
    names = sorted({some[each]["name"] for some in (old, new) for each in set(old) ^ set(new) if each in some})
    return f"arms that differ: {', '.join(names)}"
