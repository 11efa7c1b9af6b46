"""All models of microworld from a seed: complete stages are skipped, one that was broken off goes on from its checkpoint."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from dynaip.atomic import write_json
from dynaip.errors import InputError

from ..measuring import figures
from ..models import pipeline
from ..models.vision import save as save_vision
from . import adapter, autoencoder, flux, oracle, vision
from .loop import Progress as Report
from .loop import Schedule

CHECKPOINTS = "checkpoints"


@dataclass(frozen=True, slots=True)
class Order:
    """What to build, where, how large and how; `scale` shortens trainings and pools alike."""

    out: Path
    seed: int
    scale: float
    report: Report | None
    compiled: bool

    @property
    def work(self) -> Path:
        """Where checkpoints and logs lie."""
        return self.out / CHECKPOINTS

    def schedule(self, schedule: Schedule) -> Schedule:
        """A model's schedule under this order's seed and scale."""
        return replace(
            schedule, steps=max(2, round(schedule.steps * self.scale)), seed=schedule.seed + 1000 * self.seed
        )

    def pool(self, count: int) -> int:
        """A pool's size under this order's scale."""
        return max(64, min(count, round(count * self.scale * 4)))

    def vae(self) -> AutoencoderKL:
        """The autoencoder that an earlier stage made."""
        folder = self.work / "vae"
        if not folder.is_dir():
            raise InputError(f"{folder} is missing; build the stage 'autoencoder' first")
        return AutoencoderKL.from_pretrained(folder).eval()


def _autoencoder(order: Order) -> None:
    pool = order.pool(autoencoder.POOL)
    model = autoencoder.train(order.work, order.schedule(autoencoder.SCHEDULE), pool, order.report)
    model.save_pretrained(order.work / "vae")


def _clip(order: Order) -> None:
    model = vision.train(order.work, order.schedule(vision.SCHEDULE), order.pool(vision.POOL), order.report)
    save_vision(model, order.out / "vision")


def _oracle(order: Order) -> None:
    schedule, pool = order.schedule(oracle.SCHEDULE), order.pool(oracle.POOL)
    oracle.train(order.work, order.vae(), schedule, pool, order.report).save_pretrained(order.out / "oracle")


def _base(order: Order) -> None:
    schedule, pool = order.schedule(flux.SCHEDULE), order.pool(flux.POOL)
    model = flux.train(order.work, order.vae(), schedule, pool, order.report, order.compiled)
    pipeline.save(pipeline.assemble(model, order.vae()), order.out / "pipeline")


def _adapter(order: Order) -> None:
    steps = None if order.scale == 1 else max(2, round(4000 * order.scale))
    adapter.train(order.out, order.work, steps=steps, seed=order.seed, progress=order.report)


def _measure(order: Order) -> None:
    figures.write(order.out, max(2, round(200 * min(order.scale, 1))))


def note(out: Path, work: Path, name: str, schedule: Schedule) -> None:
    """Add to ``trainings.json``, which the model card shows, how one model was trained; the log has the last loss."""
    file = out / figures.TRAININGS
    known = json.loads(file.read_text()) if file.exists() else {}
    log = work / f"{name}.jsonl"
    last = json.loads(log.read_text().splitlines()[-1]) if log.exists() else {}
    shown = {
        "steps": schedule.steps,
        "batch_size": schedule.batch_size,
        "learning_rate": schedule.learning_rate,
        "seed": schedule.seed,
    }
    write_json(file, known | {name: shown | {"last_loss": last.get("loss")}}, indent=1)


SCHEDULES: dict[str, Schedule] = {
    "autoencoder": autoencoder.SCHEDULE,
    "clip": vision.SCHEDULE,
    "oracle": oracle.SCHEDULE,
    "base": flux.SCHEDULE,
}
"""Schedules of the stages whose trainings the model card tells; the adapter's is its recipe."""

STAGES: dict[str, Callable[[Order], None]] = {
    "autoencoder": _autoencoder,
    "clip": _clip,
    "oracle": _oracle,
    "base": _base,
    "adapter": _adapter,
    "measure": _measure,
}


def build(
    out: Path,
    *,
    seed: int = 0,
    stages: Sequence[str] | None = None,
    scale: float = 1.0,
    threads: int = 1,
    report: Report | None = None,
    compiled: bool = False,
) -> list[str]:
    """Build the stages (all by default) into `out`; returns those that ran.

    The result holds the folders of all parts, `figures.json` and `MODEL_CARD.md`. `compiled` makes the base's
    steps a quarter faster after two minutes of compilation.
    """
    unknown = sorted(set(stages or ()) - STAGES.keys())
    if unknown:
        raise ValueError(f"unknown stages {', '.join(unknown)}; there are {', '.join(STAGES)}")
    torch.set_num_threads(threads)
    order, ran = Order(Path(out), seed, scale, report, compiled), []
    for name, stage in STAGES.items():
        done = order.work / f"{name}.done"
        if (stages is None or name in stages) and not done.exists():
            stage(order)
            if name in SCHEDULES:
                note(order.out, order.work, name, order.schedule(SCHEDULES[name]))
            done.parent.mkdir(parents=True, exist_ok=True)
            done.touch()
            ran.append(name)
    return ran


class Bars:
    """A rich progress bar for every stage."""

    def __init__(self, progress: Progress) -> None:
        self.progress, self.tasks = progress, dict[str, TaskID]()

    def __call__(self, stage: str, step: int, steps: int, loss: float) -> None:
        if stage not in self.tasks:
            self.tasks[stage] = self.progress.add_task(stage, total=steps, loss=loss)
        self.progress.update(self.tasks[stage], completed=step, loss=loss)


def bars() -> Progress:
    """Progress display with step, loss and remaining time."""
    return Progress(
        TextColumn("{task.description:12}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} loss {task.fields[loss]:.4f}"),
        TimeRemainingColumn(),
    )
