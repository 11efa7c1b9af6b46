"""``dynaip plan``: what a training takes, before it runs."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dynaip.cli.options import AsJson, ConfigName, Device, Overrides
from dynaip.cli.output import echo
from dynaip.cli.tables import show_table
from dynaip.device import use

if TYPE_CHECKING:
    from dynaip.training.machines import Machine
    from dynaip.training.plan import TrainingPlan


def plan(
    file: ConfigName,
    set_: Overrides = None,
    gpu: Annotated[
        str | None, typer.Option("--gpu", metavar="NAME", help="Another machine than this one, e.g. h100-80gb.")
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option("--processes", min=1, help="Processes that train together; those of a launcher by default."),
    ] = None,
    as_json: AsJson = False,
    device: Device = "auto",
) -> None:
    """Compute parameters, memory by part, operations and time of a training, from shapes alone: nothing is loaded."""
    from dynaip.config import ExperimentConfig, load_any

    use(device)
    config = load_any(file, set_ or ())
    trainings = 1
    if not isinstance(config, ExperimentConfig):
        from dynaip.ablation.plan import make_plan as plan_arms

        arms = config.expand()
        trainings = len(plan_arms(config.model_copy(update={"match_parameters": False})).trainings)
        config = config.experiment(arms[0].settings)
    from dynaip.training.machines import here, named
    from dynaip.training.plan import make_plan

    machine = named(gpu) if gpu else here()
    made = make_plan(config, processes or int(os.environ.get("WORLD_SIZE", "1"))).on(machine)
    found = _numbers(made, machine, trainings)
    if as_json:
        echo(json.dumps(found, indent=2))
        return
    _show(found, made, machine)


def _numbers(plan: TrainingPlan, machine: Machine, trainings: int) -> dict[str, Any]:
    from dynaip.training.plan import told

    again = plan.checkpoints(machine)
    seconds = plan.seconds(machine, checkpointing=again)
    hours = None if seconds is None else seconds * plan.settings.steps * trainings / 3600
    return {
        "machine": {"name": machine.name, "memory": machine.memory},
        "size": list(plan.size),
        "parameters": {
            "base": plan.base.all, "encoders": plan.encoders.all, "vision": plan.vision.all, "trained": plan.trained,
        },
        "memory": {
            "without_checkpointing": plan.memory(checkpointing=False),
            "with_checkpointing": plan.memory(checkpointing=True),
            "while_encoding": plan.loading(),
        },
        "needed": plan.needed(checkpointing=again),
        "checkpointing": again,
        "fits": plan.fits(machine),
        "remedy": None if plan.fits(machine) else told(plan.remedy(machine)),
        "processes": plan.processes,
        "sharded": plan.sharded,
        "flops": plan.flops(checkpointing=again),
        "seconds": seconds,
        "hours": hours,
        "trainings": trainings,
        "bytes_a_pair": plan.pair_bytes,
    }  # fmt: skip


def _show(found: dict[str, Any], plan: TrainingPlan, machine: Machine) -> None:
    from dynaip.training.machines import GIB

    plain, again = found["memory"]["without_checkpointing"], found["memory"]["with_checkpointing"]
    numbers = found["parameters"] | {"encoders": plan.encoders.all + plan.vision.all, "adapter": plan.trained}
    rows = [
        (
            part,
            f"{numbers[part] / 1e6:,.1f} M" if part in numbers else "",
            f"{plain[part] / GIB:.2f}",
            f"{again[part] / GIB:.2f}",
        )
        for part in plain
    ]
    peaks = [plan.training(checkpointing=checkpointing) / GIB for checkpointing in (False, True)]
    rows.append(("at once", "", f"{peaks[0]:.2f}", f"{peaks[1]:.2f}"))
    show_table(("part", "parameters", "GiB", "GiB with gradient checkpointing"), rows)
    if plan.settings.cache:
        echo("encoders leave the accelerator once all pairs are encoded;")
    echo(f"while pairs are encoded: {found['memory']['while_encoding'] / GIB:.1f} GiB; a pair takes "
         f"{plan.pair_bytes / 1e6:.2f} MB of the cache")  # fmt: skip
    time = "" if found["seconds"] is None else (
        f", about {_short(found['seconds'])} s a step and {_duration(found['hours'])} for "
        f"{plan.settings.steps} steps" + (f" of {found['trainings']} trainings" if found["trainings"] > 1 else "")
    )  # fmt: skip
    flops = f"{found['flops'] / 1e12:.1f} TFLOPs" if found["flops"] >= 1e11 else f"{found['flops'] / 1e9:.1f} GFLOPs"
    echo(f"a step: {flops}{time}")
    how = "with" if found["checkpointing"] else "without"
    verdict = "fits" if found["fits"] else "does not fit"
    echo(
        f"{verdict}: {found['needed'] / GIB:.1f} of {machine.memory / GIB:.1f} GiB on {machine.name}, {how} checkpointing"
    )
    if plan.sharded:
        echo(f"the base is shared out among {plan.processes} processes, each with its part (training.shard_base)")
    if found["remedy"]:
        echo(found["remedy"])


def _short(seconds: float) -> str:
    return f"{seconds:.2f}" if seconds >= 0.1 else f"{seconds:.1g}"


def _duration(hours: float) -> str:
    return f"{hours:.1f} hours" if hours >= 0.1 else f"{60 * hours:.1f} minutes"
