"""Does one group of an ablation: train one adapter, then evaluate every arm that it serves (or evaluate a baseline)."""

from __future__ import annotations

import shutil
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from filelock import FileLock

from dynaip.ablation.cases import what_cases_depend_on
from dynaip.ablation.folder import FAILED, FINISHED, RUNNING, WAITING, AblationFolder, ArmGroup, GroupArm
from dynaip.ablation.plan import BASE
from dynaip.atomic import replacing, write_json
from dynaip.config import EvaluationConfig, ExperimentConfig, load_experiment, load_saved
from dynaip.contracts import Case
from dynaip.device import choose, load_on, peak_memory
from dynaip.errors import DynaIPError, Interrupted
from dynaip.evaluation.cases import benchmark_cases
from dynaip.models import local_folder
from dynaip.reading import mapping
from dynaip.registry import registry
from dynaip.signals import interruptible
from dynaip.suggest import one_line


def work(directory: Path, name: str) -> int:
    """Do one group; give the exit code: 0 if all its arms have scores, 75 if it was asked to stop, 1 otherwise.

    Waits while a worker that outlived its ablation still holds the group, and then does what that one has left.
    """
    folder = AblationFolder(directory)
    group = ArmGroup.read(folder.group(name))
    with FileLock(folder.group_lock(name)):
        arms = [arm for arm in group.arms if not folder.arm(arm.folder).finished()]
        try:
            with interruptible():
                return _do(folder, group, arms) if arms else 0
        except Interrupted as error:
            print(error, file=sys.stderr, flush=True)
            for arm in arms:
                if folder.arm(arm.folder).state() not in (FINISHED, FAILED):
                    folder.arm(arm.folder).mark(WAITING)
            return error.exit_code


def _do(folder: AblationFolder, group: ArmGroup, arms: Sequence[GroupArm]) -> int:
    try:
        for file in group.plugins:
            registry().load_file(file)
        if group.training:
            _train(folder, group)
    except Interrupted:
        raise
    except Exception as error:  # whatever breaks a training breaks its arms alone
        return _failed(folder, arms, error)
    return _evaluate_all(folder, group, arms)


def _failed(folder: AblationFolder, arms: Sequence[GroupArm], error: Exception) -> int:
    line = str(error) if isinstance(error, DynaIPError) else one_line(error)
    if isinstance(error, DynaIPError):
        print(line, file=sys.stderr, flush=True)
    else:
        traceback.print_exception(error)
    for arm in arms:
        folder.arm(arm.folder).mark(FAILED, error=line)
    return 1


def _train(folder: AblationFolder, group: ArmGroup) -> None:
    from dynaip.training.shared import sharing
    from dynaip.training.trainer import Preparation, StepReport, train

    name = str(group.training)

    def tell(report: StepReport | Preparation) -> None:
        if isinstance(report, StepReport) and report.step % 50 == 0:
            print(f"step {report.step}/{group.steps} loss {report.loss:.4f}", flush=True)

    config = load_experiment(folder.training_config(name))
    with sharing(folder.encodings if group.shares else None):
        train(config, folder.training(name).path, resume=True, on_progress=tell)


def _evaluate_all(folder: AblationFolder, group: ArmGroup, arms: Sequence[GroupArm]) -> int:
    code = 0
    shelf: dict[str, Any] = {}
    for arm in arms:
        made, started = folder.arm(arm.folder), time.monotonic()
        made.mark(RUNNING)
        try:
            steps = _steps(group, arm)  # reads a baseline's config, which may be refused
            _evaluate(folder, group, arm, shelf)
            device, memory = peak_memory()
            seconds = round(time.monotonic() - started, 2)
            made.mark(FINISHED, seconds=seconds, steps=steps, device=device, memory_gb=memory)
        except Exception as error:  # one arm never stops the others
            traceback.print_exc()
            made.mark(FAILED, error=str(error) if isinstance(error, DynaIPError) else one_line(error))
            code = 1
    return code


def _evaluate(folder: AblationFolder, group: ArmGroup, arm: GroupArm, shelf: dict[str, Any]) -> None:
    """Evaluate one arm as a run of its own: config, adapter with the arm's policy, samples, scores."""
    import torch

    from dynaip.adapter.model import DynaIP
    from dynaip.evaluation.scoring import evaluate

    made = folder.arm(arm.folder)
    config = load_experiment(made.config)
    if group.training:
        lend_adapter(folder.training(group.training).adapter, made.adapter, config)
    if group.threads:
        torch.set_num_threads(group.threads)
    if "pipe" not in shelf:  # the pipeline serves all arms of the group
        backbone = registry().build(config.backbone)
        shelf |= {"backbone": backbone, "pipe": load_on(backbone, choose())}
    pipe, backbone = shelf["pipe"], shelf["backbone"]
    dyna = None if arm.run == BASE else DynaIP.from_pretrained(arm.run or made.path).attach(pipe)
    try:
        print(f"evaluate {arm.name}", flush=True)
        evaluation = cast(EvaluationConfig, config.evaluation)
        evaluate(evaluation, pipe, backbone, dyna, made.path, cases=cases_once(evaluation, shelf))
    finally:
        if dyna is not None:
            dyna.detach()


def cases_once(evaluation: EvaluationConfig, shelf: dict[str, Any]) -> list[Case]:
    """The cases of an evaluation, drawn once for all arms of a group that ask for the same."""
    key = what_cases_depend_on(evaluation)
    if key not in shelf:
        shelf[key] = benchmark_cases(evaluation)
    return shelf[key]


def lend_adapter(trained: Path, folder: Path, config: ExperimentConfig) -> None:
    """Copy a trained adapter into an arm, with the arm's own decoupling policy in its config."""
    from dynaip.adapter.files import CONFIG, WEIGHTS

    with replacing(folder / WEIGHTS) as part:
        shutil.copyfile(trained / WEIGHTS, part)
    write_json(folder / CONFIG, mapping(trained / CONFIG) | {"decoupling": config.decoupling.dump()})


def _steps(group: ArmGroup, arm: GroupArm) -> int | None:
    """Training steps behind an arm; for a baseline adapter what its own config tells."""
    if group.training:
        return group.steps
    if arm.run in (None, BASE):
        return None
    file = local_folder(str(arm.run), "adapter") / "config.yaml"
    return load_saved(file).training.steps if file.is_file() else None
