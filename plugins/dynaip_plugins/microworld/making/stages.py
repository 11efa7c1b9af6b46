"""All models of microworld from a seed: complete stages are skipped, one that was broken off goes on from its checkpoint.

On a CPU stages run one after another. On an accelerator each can have a process of its own: what does not need another stage
runs beside it, and what does prepares itself (imports, compilation) while it waits.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from diffusers import AutoencoderKL, FluxPipeline
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from torch import nn
from transformers import CLIPModel

from dynaip import device
from dynaip.atomic import write_json
from dynaip.errors import DynaIPError, InputError

from ..measuring import figures, sheet
from ..models import pipeline
from ..models.vision import save as save_vision
from ..models.vision import save_tower
from . import adapter, autoencoder, dino, flux, oracle, vision
from .loop import Progress as Report
from .loop import Schedule, Size

CHECKPOINTS = "checkpoints"
SHARES: dict[str, float] = {"autoencoder": 0.2, "clip": 0.3, "dino": 0.3, "base": 0.56, "oracle": 0.1}
"""What the trainings take of `minutes`; those of the towers run beside the others."""
PATIENCE = 0.25
"""Seconds between looks at whether a stage that is waited for is done."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to build, where, how large and how.

    `scale` shortens trainings and pools alike; `minutes` lets the clock end trainings instead of their numbers of steps;
    `compiled` compiles the base's blocks, `eager` leaves graphs out; `waits` says that other processes make what a stage needs.
    `start` is a folder of models with which autoencoder (its decoder alone), tower and base go on.
    """

    out: Path
    seed: int = 0
    scale: float = 1.0
    minutes: float | None = None
    device: str = "cpu"
    compiled: bool = False
    eager: bool = False
    report: Report | None = None
    waits: bool = False
    start: Path | None = None

    @property
    def work(self) -> Path:
        """Where checkpoints and logs lie."""
        return self.out / CHECKPOINTS

    def size(self, name: str) -> Size:
        """A training's size on this order's device, under its seed, scale and minutes."""
        small, large = SIZES[name]
        size = small if torch.device(self.device).type == "cpu" else large
        return Size(self._schedule(name, size.schedule), max(64, min(size.pool, round(size.pool * self.scale * 4))))

    def _schedule(self, name: str, schedule: Schedule) -> Schedule:
        return replace(
            schedule,
            steps=max(2, round(schedule.steps * self.scale)),
            seed=schedule.seed + 1000 * self.seed,
            graphs=not self.eager,
            seconds=None if self.minutes is None else self.minutes * 60 * SHARES[name],
        )

    def mark(self, name: str) -> Path:
        """The file that says that a stage is complete."""
        return self.work / f"{name}.done"

    def need(self, name: str) -> None:
        """Make sure of what another stage makes; waits for it where another process is at it."""
        while self.waits and not self.mark(name).exists():
            if self.mark(name).with_suffix(".failed").exists():
                raise DynaIPError(f"the stage {name} failed")
            time.sleep(PATIENCE)
        if not self.mark(name).exists():
            raise InputError(f"{self.mark(name)} is missing; build the stage '{name}' first")

    def settle(self, name: str) -> None:
        """Wait until another process has ended a stage, well or not, if there is such a process."""
        mark = self.mark(name)
        while self.waits and not (mark.exists() or mark.with_suffix(".failed").exists()):
            time.sleep(PATIENCE)

    def begun(self) -> AutoencoderKL | None:
        """The autoencoder that a build goes on with, if it has one to start from."""
        return None if self.start is None else AutoencoderKL.from_pretrained(self.start / "pipeline" / "vae").float()

    def vae(self) -> AutoencoderKL:
        """The autoencoder that an earlier stage made, on the order's device."""
        self.need("autoencoder")
        vae: AutoencoderKL = AutoencoderKL.from_pretrained(self.work / "vae").eval()
        nn.Module.to(vae, device=torch.device(self.device))
        return vae

    def pipeline(self) -> FluxPipeline:
        """The pipeline that an earlier stage made, on the order's device."""
        self.need("base")
        return pipeline.load(self.out / "pipeline", self.device)


def _autoencoder(order: Order) -> None:
    size = order.size("autoencoder")
    model = autoencoder.train(order.work, size.schedule, size.pool, order.report, order.device, order.begun())
    model.save_pretrained(order.work / "vae")


def _clip(order: Order) -> None:
    size = order.size("clip")
    start = None if order.start is None else CLIPModel.from_pretrained(order.start / "vision").float()
    model = vision.train(order.work, size.schedule, size.pool, order.report, order.device, start)
    save_vision(model, order.out / "vision")


def _dino(order: Order) -> None:
    size = order.size("dino")
    save_tower(dino.train(order.work, size.schedule, size.pool, order.report, order.device), order.out / "dino")


def _base(order: Order) -> None:
    size = order.size("base")
    made = flux.train(
        order.work, order.vae, size.schedule, size.pool, order.report, order.device, order.compiled,
        None if order.start is None else order.start / "pipeline",
    )  # fmt: skip
    pipeline.save(pipeline.assemble(made.cpu(), order.vae().cpu()), order.out / "pipeline")


def _oracle(order: Order) -> None:
    size = order.size("oracle")
    oracle.train(order.work, order.pipeline(), size.schedule, size.pool, order.report).save_pretrained(
        order.out / "oracle"
    )


def _adapter(order: Order) -> None:
    for name in ("base", "clip"):
        order.need(name)
    adapter.train(order.out, order.work, scale=order.scale, seed=order.seed, progress=order.report)


def _sheet(order: Order) -> None:
    sheet.write(order.pipeline(), order.out / "sheet.png", seed=order.seed)


def _measure(order: Order) -> None:
    order.need("oracle")
    order.settle("adapter")
    figures.write(order.out, max(2, round(200 * min(order.scale, 1))), order.device)


def note(order: Order, name: str) -> None:
    """Add to ``trainings.json``, which the model card shows, how one model was trained; the log has the last figures."""
    schedule, log = order.size(name).schedule, order.work / f"{name}.jsonl"
    last = json.loads(log.read_text().splitlines()[-1]) if log.exists() else {}
    shown = {
        "steps": last.get("step", schedule.steps),
        "batch_size": schedule.batch_size,
        "learning_rate": schedule.learning_rate,
        "seed": schedule.seed,
        "last_loss": last.get("loss"),
        "seconds": last.get("seconds"),
        "samples_per_second": last.get("samples_per_second"),
    }
    write_json(order.work / f"{name}.training.json", shown, indent=1)
    known = {
        each: json.loads(file.read_text()) for each in SIZES if (file := order.work / f"{each}.training.json").exists()
    }
    write_json(order.out / figures.TRAININGS, known, indent=1)


SIZES: dict[str, tuple[Size, Size]] = {
    "autoencoder": (autoencoder.SMALL, autoencoder.LARGE),
    "clip": (vision.SMALL, vision.LARGE),
    "dino": (dino.SMALL, dino.LARGE),
    "base": (flux.SMALL, flux.LARGE),
    "oracle": (oracle.SMALL, oracle.LARGE),
}
"""Sizes of the stages whose trainings the model card tells, for a CPU and for an accelerator; the adapter's is its recipe."""

STAGES: dict[str, Callable[[Order], None]] = {
    "autoencoder": _autoencoder,
    "clip": _clip,
    "dino": _dino,
    "base": _base,
    "oracle": _oracle,
    "sheet": _sheet,
    "adapter": _adapter,
    "measure": _measure,
}


def build(order: Order, stages: Sequence[str] = (), *, beside: bool = False) -> list[str]:
    """Build the stages (all by default); returns those that ran.

    The result holds the folders of all parts, `figures.json` and `MODEL_CARD.md`. `beside` gives every stage a process of its
    own. Raises `InputError` for an unknown stage, or where a stage lacks what an earlier one makes.
    """
    if order.start is not None:
        _check_start(order.start)
    unknown = sorted(set(stages) - STAGES.keys())
    if unknown:
        raise InputError(f"unknown stage {', '.join(unknown)}; there are {', '.join(STAGES)}")
    left = [name for name in STAGES if name in (stages or STAGES) and not order.mark(name).exists()]
    order.work.mkdir(parents=True, exist_ok=True)
    device.use(order.device)
    for name in left:
        order.mark(name).with_suffix(".failed").unlink(missing_ok=True)
    if beside and len(left) > 1:
        _beside(order, left)
    else:
        for name in left:
            _make(order, name)
    return left


def _check_start(folder: Path) -> None:
    for part in ("pipeline/model_index.json", "vision/config.json"):
        if not (folder / part).is_file():
            raise InputError(
                f"{folder} has no folder {Path(part).parent} to start from; one that a build made, or microworld, does"
            )


def _make(order: Order, name: str) -> None:
    began = time.monotonic()
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    try:
        STAGES[name](order)
    except BaseException:
        order.mark(name).with_suffix(".failed").touch()
        raise
    if name in SIZES:
        note(order, name)
    order.mark(name).touch()
    sys.stderr.write(f"{name}: done in {time.monotonic() - began:.0f} s\n")


def _beside(order: Order, stages: Sequence[str]) -> None:
    """One process a stage; raises `DynaIPError` naming those that failed, when all have ended."""
    options = ["--seed", str(order.seed), "--scale", str(order.scale), "--device", order.device, "--waits"]
    options += ["--minutes", str(order.minutes)] if order.minutes is not None else []
    options += ["--start", str(order.start)] if order.start is not None else []
    options += [f"--{name}" for name, on in (("compile", order.compiled), ("eager", order.eager)) if on]
    line = [sys.executable, "-m", "dynaip.cli", "microworld", "build", str(order.out), *options]
    running = {name: subprocess.Popen([*line, "--stage", name]) for name in stages}
    failed = [name for name, process in running.items() if process.wait() != 0]
    if failed:
        raise DynaIPError(f"stages failed: {', '.join(failed)}; what they said is above, and --stage builds one again")


class Bars:
    """A rich progress bar for every stage."""

    def __init__(self, progress: Progress) -> None:
        self.progress, self.tasks = progress, dict[str, TaskID]()

    def __call__(self, stage: str, step: int, steps: int, loss: float) -> None:
        if stage not in self.tasks:
            self.tasks[stage] = self.progress.add_task(stage, total=steps, loss=loss)
        self.progress.update(self.tasks[stage], completed=step, total=steps, loss=loss)


class Lines:
    """A line now and then instead of bars, for logs and for stages beside each other."""

    def __init__(self, every: float = 10.0) -> None:
        self.every, self.since = every, (time.monotonic(), 0)

    def __call__(self, stage: str, step: int, steps: int, loss: float) -> None:
        now = time.monotonic()
        if now - self.since[0] >= self.every:
            rate = (step - self.since[1]) / (now - self.since[0])
            sys.stderr.write(f"{stage}: step {step} of {steps}, loss {loss:.4f}, {rate:.1f} steps a second\n")
            self.since = (now, step)


def bars() -> Progress:
    """Progress display with step, loss and remaining time."""
    return Progress(
        TextColumn("{task.description:12}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} loss {task.fields[loss]:.4f}"),
        TimeRemainingColumn(),
    )
