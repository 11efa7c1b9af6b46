"""``dynaip ablate``: axes -> arms -> train, evaluate, analyse, report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dynaip.cli.options import ConfigName, Device, Overrides
from dynaip.cli.output import echo, say
from dynaip.device import use


def ablate(
    file: ConfigName,
    set_: Overrides = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder; runs/NAME by default.")] = None,
    executor: Annotated[
        str | None,
        typer.Option("--executor", help="local, ray, slurm; with options: '{use: slurm, partition: gpu}'."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the ablation in the folder.")] = False,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Cases of every suite, at most.")] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="One training seed instead of the config's.")
    ] = None,
    device: Device = "auto",
) -> None:
    """Train and evaluate all arms of an ablation and write results.csv and report.html. Finished work is never repeated."""
    use(device)
    from dynaip.config import load_ablation
    from dynaip.errors import InputError

    overrides = [*(set_ or ()), *([f"seeds=[{seed}]"] if seed is not None else [])]
    config = load_ablation(file, overrides)
    folder = out or Path("runs") / config.name
    if (folder / "results.csv").exists() and not resume:
        raise InputError(
            f"{folder} holds a finished ablation: add --resume to run what is missing, or choose another -o"
        )
    from dynaip.ablation.execute import ablate as run
    from dynaip.ablation.live import watching
    from dynaip.report.build import build_report
    from dynaip.report.sections import prepare_sections

    with watching(folder) as on_change:
        result = run(config, folder, executor=_named(executor), limit=limit, on_change=on_change)
    if len(result.results):
        prepare_sections(folder, jobs=at_a_time(config.jobs, _named(executor)), threads=config.threads)
    say(f"results: {folder / 'results.csv'}")
    say(f"report:  {build_report(folder)}")
    for line in result.complaints():
        echo(f"failed:  {line}", err=True)
    if result.failed:
        echo("--resume runs what failed again", err=True)
        raise typer.Exit(1)


def _named(executor: str | None) -> str | dict[str, Any] | None:
    """An executor by name, or with its options as YAML has them."""
    if executor is None or not executor.lstrip().startswith("{"):
        return executor
    from dynaip.config.merge import overridden

    return overridden({}, [f"executor={executor}"])["executor"]


def at_a_time(jobs: int, executor: str | dict[str, Any] | None) -> int:
    """Sections are prepared on this machine: as many at a time as arms were, where those were here, too."""
    options = executor if isinstance(executor, dict) else {"use": executor or "local"}
    here = str(options.get("use")).rpartition(":")[2] == "local"
    return int(options.get("jobs", jobs)) if here else 1
