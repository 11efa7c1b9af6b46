"""Make all models of microworld again from a seed.

    python -m dynaip_plugins.microworld.build OUT [--stages autoencoder clip oracle base adapter measure]
        [--seed 0] [--scale 1.0] [--threads 1] [--compile]

Stages that are complete are skipped; one that was broken off goes on from its checkpoint.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from . import autoencoder, base, measure, pipeline, train_adapter, train_clip, train_oracle
from .training import Plan
from .training import Progress as Report

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

    def plan(self, plan: Plan) -> Plan:
        """A model's plan under this order's seed and scale."""
        return replace(plan, steps=max(2, round(plan.steps * self.scale)), seed=plan.seed + 1000 * self.seed)

    def pool(self, count: int) -> int:
        """A pool's size under this order's scale."""
        return max(64, min(count, round(count * self.scale * 4)))

    def vae(self) -> AutoencoderKL:
        """The autoencoder that an earlier stage made."""
        folder = self.work / "vae"
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} is missing; build the stage 'autoencoder' first")
        return AutoencoderKL.from_pretrained(folder).eval()


def _autoencoder(order: Order) -> None:
    pool = order.pool(autoencoder.POOL)
    model = autoencoder.train(order.work, order.plan(autoencoder.PLAN), pool, order.report)
    model.save_pretrained(order.work / "vae")


def _clip(order: Order) -> None:
    model = train_clip.train(order.work, order.plan(train_clip.PLAN), order.pool(train_clip.POOL), order.report)
    train_clip.save(model, order.out / "vision")


def _oracle(order: Order) -> None:
    plan, pool = order.plan(train_oracle.PLAN), order.pool(train_oracle.POOL)
    train_oracle.train(order.work, order.vae(), plan, pool, order.report).save_pretrained(order.out / "oracle")


def _base(order: Order) -> None:
    plan, pool = order.plan(base.PLAN), order.pool(base.POOL)
    model = base.train(order.work, order.vae(), plan, pool, order.report, order.compiled)
    pipeline.save(pipeline.assemble(model, order.vae()), order.out / "pipeline")


def _adapter(order: Order) -> None:
    steps = None if order.scale == 1 else max(2, round(4000 * order.scale))
    train_adapter.train(order.out, order.work, steps=steps, seed=order.seed, progress=order.report)


def _measure(order: Order) -> None:
    measure.write(order.out, max(2, round(200 * min(order.scale, 1))))


def note(out: Path, work: Path, name: str, plan: Plan) -> None:
    """Add to ``trainings.json``, which the model card shows, how one model was trained; the log has the last loss."""
    file = out / measure.TRAININGS
    known = json.loads(file.read_text()) if file.exists() else {}
    log = work / f"{name}.jsonl"
    last = json.loads(log.read_text().splitlines()[-1]) if log.exists() else {}
    shown = {"steps": plan.steps, "batch_size": plan.batch_size, "learning_rate": plan.learning_rate, "seed": plan.seed}
    out.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(known | {name: shown | {"last_loss": last.get("loss")}}, indent=1) + "\n")


PLANS: dict[str, Plan] = {
    "autoencoder": autoencoder.PLAN,
    "clip": train_clip.PLAN,
    "oracle": train_oracle.PLAN,
    "base": base.PLAN,
}
"""Plans of the stages whose trainings the model card tells; the adapter's is its recipe."""

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
            if name in PLANS:
                note(order.out, order.work, name, order.plan(PLANS[name]))
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


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--stages", nargs="+", choices=list(STAGES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="1 = the shipped models; 0.001 = seconds")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile", action="store_true", help="compile the base's transformer")
    options = parser.parse_args(arguments)
    with bars() as progress:
        build(
            options.out,
            seed=options.seed,
            stages=options.stages,
            scale=options.scale,
            threads=options.threads,
            report=Bars(progress),
            compiled=options.compile,
        )
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
