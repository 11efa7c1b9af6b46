"""``python -m tests.gpu``: the tests that need an accelerator, then the budgets on FLUX's true layout, then microworld's demo.

Needs torch, diffusers and transformers, no network and no installation: ``PYTHONPATH=.:plugins:analysis``. The table comes
last and lies in ``OUT/gpu.json``. Stages that no longer fit into ``--minutes`` are named and left out. Without an accelerator
it says so and exits 0; ``--small`` shows on any machine that the script works, on models of a few thousand weights.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from .timing import Figure, free, seconds

ROOT = Path(__file__).parents[2]
STAGES = ("tests", "generation", "training", "compiled", "demo")
NEED = {"tests": 100, "generation": 60, "training": 40, "compiled": 90, "demo": 60}
"""Seconds that a stage needs at least: with fewer left it is not begun."""


class Session:
    """The clock, the figures and the failures of one run."""

    def __init__(self, minutes: float, out: Path) -> None:
        self.started, self.limit, self.out = time.monotonic(), 60 * minutes, out
        self.figures: list[Figure] = []
        self.notes: list[str] = []

    @property
    def left(self) -> float:
        """Seconds until the limit."""
        return self.limit - (time.monotonic() - self.started)

    def stage(self, name: str, run: Callable[[], list[Figure]], need: float | None = None) -> None:
        """Run one stage; its failure is a line of the table and stops nothing."""
        need = NEED.get(name, 0) if need is None else need
        if self.left < need:
            self.note(f"{name}: left out, it needs {need:.0f} s and {self.left:.0f} s are left")
            return
        began = time.monotonic()
        try:
            found = run()
            self.figures += found
            for figure in found:
                print(line(figure), flush=True)
        except Exception as error:
            traceback.print_exc()
            self.note(f"{name}: FAILED: {type(error).__name__}: {str(error)[:300]}")
        print(f"-- {name}: {time.monotonic() - began:.0f} s", flush=True)
        self.write()

    def note(self, text: str) -> None:
        """Say something, and keep it for the end."""
        print(text, flush=True)
        self.notes.append(text)

    def write(self) -> None:
        """Everything so far."""
        self.out.mkdir(parents=True, exist_ok=True)
        rows = [asdict(figure) | {"verdict": figure.verdict} for figure in self.figures]
        told = {"machine": machine(), "figures": rows, "notes": self.notes}
        (self.out / "gpu.json").write_text(json.dumps(told, indent=1), encoding="utf-8")


def machine() -> dict[str, str]:
    """What the figures were taken on."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or "cpu"
    import diffusers
    import transformers

    return {
        "device": name, "torch": torch.__version__, "diffusers": diffusers.__version__,
        "transformers": transformers.__version__, "python": platform.python_version(),
    }  # fmt: skip


def line(figure: Figure) -> str:
    """One line of the table."""
    budget = "" if figure.budget is None else f"{figure.budget:g}"
    spread = f"{figure.low:.4g} to {figure.high:.4g}"
    return f"{figure.what:<68} {figure.value:>9.4g} {figure.unit:<4} {spread:<20} {budget:>6} {figure.verdict}"


def tests(left: float) -> list[Figure]:
    """The tests of this folder, in a process of their own."""
    command = [sys.executable, "-m", "pytest", str(Path(__file__).parent), "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=ROOT, env=environment(), timeout=max(30.0, left))
    failed = float(done.returncode != 0)
    return [Figure("tests that need an accelerator: failed (exit code)", failed, "", failed, failed, 0)]


def environment() -> dict[str, str]:
    """Ours for child processes, with the three roots of the checkout."""
    roots = os.pathsep.join(map(str, (ROOT, ROOT / "plugins", ROOT / "analysis")))
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([roots, os.environ.get("PYTHONPATH", "")]),
        "HF_HUB_OFFLINE": "1",
    }


def demo(left: float, out: Path) -> list[Figure]:
    """``dynaip ablate microworld/demo`` on the accelerator."""
    command = [sys.executable, "-m", "dynaip.cli", "ablate", "microworld/demo", "-o", str(out / "demo")]
    began = time.monotonic()
    subprocess.run(command, cwd=ROOT, env=environment(), timeout=max(30.0, left), check=True)
    return [seconds("make demo (eight arms from four trainings)", [time.monotonic() - began])]


def main() -> int:
    """Run the stages in order; 0 unless a stage failed."""
    options = argparse.ArgumentParser(prog="python -m tests.gpu", description=__doc__)
    options.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", "gpu-out")))
    options.add_argument("--minutes", type=float, default=8.0)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    options.add_argument("--small", action="store_true")
    given = options.parse_args()
    if not torch.accelerator.is_available() and not given.small:
        print("no accelerator on this machine: nothing to run")
        return 0
    session = Session(given.minutes, given.out)
    carry_out(session, given)
    print("\n" + " | ".join(machine().values()))
    print(f"{'what':<68} {'median':>9}      {'from to':<20} {'budget':>6}")
    for figure in session.figures:
        print(line(figure))
    for note in session.notes:
        print(note)
    print(f"wrote {given.out / 'gpu.json'}")
    return int(any("FAILED" in note for note in session.notes))


def carry_out(session: Session, given: Any) -> None:
    """All stages that were asked for."""
    from . import generation, training
    from .models import FLUX, SMALL, make_adapter, make_pipeline, pictures, save_tower

    if "tests" in given.stages:
        session.stage("tests", lambda: tests(session.left))
    if {"generation", "training", "compiled"} & set(given.stages):
        shape = SMALL if given.small else FLUX
        device = torch.accelerator.current_accelerator() or torch.device("cpu")
        dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
        free()
        with tempfile.TemporaryDirectory() as folder:
            pipe = make_pipeline(shape, device, dtype)
            dyna = make_adapter(shape, pipe, save_tower(shape, Path(folder))).to(device).attach(pipe)
        painter, images = generation.make(pipe, shape), pictures(10)
        # One reference beside the base for 28 steps, then what is dear once, then training and compiling.
        if "generation" in given.stages:
            session.stage("bits", lambda: generation.untouched(painter, dyna, images[0]), 20)
            session.stage("steps", lambda: generation.steps_of(painter, dyna, images, given.rounds), 60)
            session.stage("waits", lambda: generation.waits(painter, dyna, images[0]), 20)
            session.stage("generation", lambda: generation.whole(painter, dyna, images[0], given.rounds), 80)
        if "training" in given.stages:
            session.stage("training", lambda: training.steps(pipe, dyna, shape, given.rounds))
        if "compiled" in given.stages:
            session.stage("compiled", lambda: generation.compiled(painter, dyna, images[0], given.rounds))
        dyna.detach()
        del painter, pipe, dyna
        free()
    if "demo" in given.stages:
        session.stage("demo", lambda: demo(session.left, given.out))


if __name__ == "__main__":
    sys.exit(main())
