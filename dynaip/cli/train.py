"""``dynaip train``: one adapter from one config."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dynaip.cli.options import ConfigName, Device, Overrides
from dynaip.cli.output import say
from dynaip.device import use
from dynaip.plain import plain
from dynaip.quiet import hushed

if TYPE_CHECKING:
    from dynaip.training.trainer import OnProgress


def train(
    file: ConfigName,
    set_: Overrides = None,
    run: Annotated[Path | None, typer.Option("--run", "-o", help="Run folder; runs/NAME-HASH by default.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest complete checkpoint.")] = False,
    allow_changed_data: Annotated[
        bool, typer.Option("--allow-changed-data", help="Go on though the pairs are not those of before.")
    ] = False,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Short for -s training.seed=SEED.")] = None,
    device: Device = "auto",
) -> None:
    """Train one adapter. Asked to stop (SIGTERM), it saves and exits with 75: start it again with --resume."""
    from dynaip.signals import interruptible

    overrides = [*(set_ or ()), *([f"training.seed={seed}"] if seed is not None else [])]
    with interruptible("stopped before the first step: start it again with --resume"):
        use(device)
        folder = _train(file, overrides, run, resume, allow_changed_data)
    if _first():
        say(f"adapter: {folder / 'adapter'}")


def _train(file: str, overrides: list[str], run: Path | None, resume: bool, allow_changed_data: bool) -> Path:
    from dynaip.config import load_experiment

    config = load_experiment(file, overrides)
    folder = run or Path("runs") / f"{config.name}-{config.hash()}"
    from rich.progress import Progress

    from dynaip.training import trainer
    from dynaip.training.setup import leave_together

    with Progress(*_columns(), disable=not _first() or hushed()) as progress:
        made = trainer.train(
            config, folder, resume=resume, allow_changed_data=allow_changed_data,
            on_progress=_bars(progress), warn=_say(progress),
        )  # fmt: skip
    leave_together()
    return made


def _first() -> bool:
    """Under `accelerate launch` every process runs this command: the first one speaks."""
    return os.environ.get("RANK", "0") == "0"


def _say(progress: Any) -> Any:
    """Lines above the bars."""
    from rich.markup import escape

    def say(line: str) -> None:
        if not hushed():
            progress.console.print(escape(plain(line)), soft_wrap=True)

    return say


def _columns() -> list[Any]:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    return [
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[details]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    ]


def _bars(progress: Any) -> OnProgress:
    """Two bars: pairs being encoded, then steps with their loss (a mean over about 50 steps)."""
    from dynaip.training.trainer import Preparation, StepReport

    encoding = progress.add_task("encode", total=None, details="", visible=False)
    training = progress.add_task("train", total=None, details="", visible=False)
    smooth: list[float] = []
    validated = ""

    def show(report: StepReport | Preparation) -> None:
        nonlocal validated
        if isinstance(report, Preparation):
            progress.update(encoding, total=report.total, completed=report.done, visible=True)
            return
        if report.loss == report.loss:
            smooth[:] = [report.loss if not smooth else 0.98 * smooth[0] + 0.02 * report.loss]
        details = f"loss {smooth[0] if smooth else float('nan'):.4f}"
        if report.validation_loss is not None:
            validated = f", validation {report.validation_loss:.4f}"
        details += validated
        speed = progress.tasks[training].speed
        details += f", {speed:.2f} steps/s" if speed else ""
        details += f", {report.skipped} skipped" if report.skipped else ""
        progress.update(training, total=report.steps, completed=report.step, visible=True, details=details)

    return show
