"""``python -m tests.gpu.stage NAME``: one stage in a process of its own, which tells what it finds as it finds it."""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from .rows import VARIABLE, Teller
from .timing import Clock, Measure, number, seconds

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
STAGES = ("tests", "flux", "demo")


def environment(**more: str) -> dict[str, str]:
    """Ours for child processes, with the three roots of the checkout and without a network."""
    roots = os.pathsep.join(map(str, (ROOT, ROOT / "plugins", ROOT / "analysis")))
    path = os.pathsep.join(filter(None, (roots, os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", **more}


def machine() -> dict[str, str]:
    """What the figures are taken on."""
    import diffusers
    import torch
    import transformers

    name = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or "cpu"
    return {
        "device": name, "torch": f"torch {torch.__version__}", "diffusers": f"diffusers {diffusers.__version__}",
        "transformers": f"transformers {transformers.__version__}", "python": f"python {platform.python_version()}",
    }  # fmt: skip


def measured(teller: Teller, clock: Clock, measures: list[Measure]) -> None:
    """Take the measures that fit; the failure of one stops no other."""
    teller.plan([each.title for each in measures])
    for each in measures:
        if clock.left < each.need:
            teller.left_out(each.title, f"not measured (no time: needs {each.need:.0f} s, {clock.left:.0f} s are left)")
            continue
        teller.begun(each.title)
        began = time.monotonic()
        try:
            for figure in each.run(clock.share(each.seconds)):
                teller.figure(figure)
        except Exception as error:
            traceback.print_exc()
            teller.failed(each.title, f"{type(error).__name__}: {str(error)[:300]}")
        else:
            teller.done(each.title, time.monotonic() - began)


def on_flux(teller: Teller, clock: Clock, given: argparse.Namespace) -> None:
    """What is measured on FLUX's layout; what compiles its blocks for good comes last."""
    from . import generation, training
    from .models import bench_of

    bench = bench_of(small=given.small, rounds=given.rounds)
    teller.note(f"{given.stage}: models made {given.seconds - clock.left:.0f} s after its start")
    made = [*generation.measures(bench), *training.measures(bench), *generation.later_measures(bench)]
    words = given.only or [""]
    measured(teller, clock, [each for each in made if any(word in each.title for word in words)])


def tests(teller: Teller, clock: Clock, given: argparse.Namespace) -> None:
    """The tests of this folder, a process a file and all at once: most of their time they wait for a CPU."""
    threads = max(1, (os.cpu_count() or 1) // 8)  # as many as cores in each process would wait for each other
    more = {VARIABLE: str(teller.path), "OMP_NUM_THREADS": str(threads)} | (
        {"DYNAIP_GPU_TESTS_ON": "cpu"} if given.small else {}
    )
    running = {
        file.stem: subprocess.Popen(
            [sys.executable, "-m", "pytest", str(file), "-q", "-x" if given.small else "-ra", "-p", "no:cacheprovider"],
            cwd=ROOT, env=environment(**more),
        )
        for file in sorted(HERE.glob("test_*.py"))
    }  # fmt: skip
    codes = {name: process.wait() for name, process in running.items()}
    bad = sum(code not in (0, 1) for code in codes.values())  # 1: tests that failed, which told of themselves
    teller.figure(number("files of tests that did not run to their end", bad, budget=0))


def demo(teller: Teller, clock: Clock, given: argparse.Namespace) -> None:
    """``dynaip ablate microworld/demo``, several trainings at a time where there are cores for them."""
    jobs = min(6, max(2, (os.cpu_count() or 2) // 2))
    title, folder, began = f"microworld/demo, {jobs} jobs at a time", given.out / "demo", time.monotonic()
    tiny = ["-s", "training.steps=4", "-s", "source.size=64", "--limit", "2"] if given.small else []
    command = ["ablate", "microworld/demo", "-o", str(folder), "-s", f"jobs={jobs}", *tiny]
    teller.plan([title])
    teller.begun(title)
    process = subprocess.Popen([sys.executable, "-m", "dynaip.cli", *command], cwd=ROOT, env=environment())
    seen = 0
    while process.poll() is None:
        time.sleep(0.5)
        trained = len(list(folder.glob("**/adapter/adapter.safetensors")))
        if trained > seen:
            seen = trained
            teller.figure(number(f"microworld/demo: adapters after {time.monotonic() - began:.0f} s", seen))
    took = time.monotonic() - began
    if process.returncode:
        teller.failed(title, f"dynaip ablate ended with {process.returncode}")
        return
    teller.figure(seconds(title, [took]))
    teller.done(title, took)


def main() -> None:
    """Run the stage that is named."""
    known: Any = argparse.ArgumentParser(prog="python -m tests.gpu.stage")
    known.add_argument("stage", choices=STAGES)
    known.add_argument("--rows", type=Path, required=True)
    known.add_argument("--out", type=Path, required=True)
    known.add_argument("--seconds", type=float, required=True)
    known.add_argument("--rounds", type=int, default=5)
    known.add_argument("--only", nargs="+", default=[])
    known.add_argument("--small", action="store_true")
    given = known.parse_args()
    teller, clock = Teller(given.rows), Clock(given.seconds)
    if given.stage == "tests":
        teller.machine(**machine())
        tests(teller, clock, given)
    elif given.stage == "demo":
        demo(teller, clock, given)
    else:
        teller.machine(**machine())
        on_flux(teller, clock, given)


if __name__ == "__main__":
    main()
