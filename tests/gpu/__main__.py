"""``python -m tests.gpu``: the tests that need an accelerator, then the budgets on FLUX's true layout, then microworld's demo.

Needs torch, diffusers and transformers, no network and no installation: ``PYTHONPATH=.:plugins:analysis``. It ends within
``--minutes``: every stage is a process of its own with a share of them, and is ended when its share is spent; what earlier
stages leave goes to later ones. Figures are printed and lie in ``OUT/gpu.json`` as they come, so that a cut-off (SIGTERM, too)
loses nothing; the table comes last. Without an accelerator it says so and exits 0; ``--small`` shows on any machine that the
script works, on models of a few thousand weights.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

from .rows import Reader
from .stage import ROOT, STAGES, environment
from .table import Table
from .timing import Clock

SHARES = {"tests": 95, "flux": 215, "demo": 155}
"""Seconds of a stage out of eight minutes, in the order in which they run."""
AGAIN = 30.0
"""Seconds that must be left where a process that broke off is followed by another for what it did not come to."""
BROKEN = "its process had ended"
RESERVE = 12.0
"""Seconds for our own start and for ending what is still running."""


class Ended(Exception):
    """Somebody wants us to end."""


class Session:
    """The stages of one run, one after the other."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given = given
        self.table = Table(given.out / "gpu.json")
        self.clock = Clock(max(5.0, 60 * given.minutes - RESERVE))
        self.chosen = [name for name in SHARES if name in given.stages]

    def run(self) -> int:
        """Everything, then the table; 0 unless something failed or was cut off from outside."""
        code = 0
        try:
            for name in self.chosen:
                self._stage(name)
        except Ended:
            code = 128 + signal.SIGTERM
            for name in self.chosen:
                if name not in self.table.stages:
                    self.table.left_out[name] = "not measured (ended from outside)"
        self.table.write()
        print("\n" + "\n".join(self.table.lines()), flush=True)
        print(f"wrote {self.table.path}", flush=True)
        return code or int(bool(self.table.failed))

    def _stage(self, name: str) -> None:
        """Run one stage in a process of its own, no longer than its share and what earlier stages left of theirs."""
        later = sum(SHARES[each] for each in self.chosen[self.chosen.index(name) + 1 :])
        whole = SHARES[name] + later
        share = Clock(self.clock.left * SHARES[name] / whole)
        if share.left < 5:
            self.table.left_out[name] = "not measured (no time)"
            self.table.write()
            return
        print(f"-- {name}: {share.left:.0f} s at most", flush=True)
        rows, began = Reader(self.given.out / f"{name}.jsonl"), time.monotonic()
        rows.path.unlink(missing_ok=True)
        why = "ended from outside"
        try:
            only, why = self.given.only, self._watched(name, rows, share, self.given.only)
            while (
                name == "flux"
                and why == BROKEN
                and share.left > AGAIN
                and (rest := self._not_begun()) not in ([], only)
            ):
                only, why = rest, self._watched(name, rows, share, rest)
        finally:
            self.table.close(name, time.monotonic() - began, why)
            self.table.write()
        print(f"-- {name}: {time.monotonic() - began:.0f} s", flush=True)

    def _not_begun(self) -> list[str]:
        return [title for title in self.table.waiting if title not in self.table.running]

    def _watched(self, name: str, rows: Reader, share: Clock, only: list[str]) -> str:
        """A process of a stage from its start to its end; why there may be no more to come."""
        process = self._start(name, rows.path, share.left, only)
        try:
            return self._watch(process, rows, share)
        finally:
            end(process)
            self._take(rows)

    def _start(self, name: str, rows: Path, seconds: float, only: list[str]) -> subprocess.Popen[bytes]:
        more = (["--small"] if self.given.small else []) + (["--only", *only] if only else [])
        command = [
            sys.executable, "-m", "tests.gpu.stage", name, "--rows", str(rows), "--out", str(self.given.out),
            "--seconds", f"{seconds:.1f}", "--rounds", str(self.given.rounds), *more,
        ]  # fmt: skip
        return subprocess.Popen(command, cwd=ROOT, env=environment(), start_new_session=True)

    def _watch(self, process: subprocess.Popen[bytes], rows: Reader, share: Clock) -> str:
        """Take what it tells until it ends or its time is spent; why there may be no more to come."""
        while process.poll() is None:
            self._take(rows)
            if share.left < 0:
                return "no time"
            time.sleep(0.2)
        if process.returncode:
            self.table.failed[f"stage {rows.path.stem}"] = f"its process ended with {process.returncode}"
        return BROKEN

    def _take(self, rows: Reader) -> None:
        found = rows.new()
        for row in found:
            if told := self.table.take(row):
                print(told, flush=True)
        if found:
            self.table.write()


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process with everything that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):  # a driver may keep a process for a while
        process.wait(5)


def ended(number: int, frame: FrameType | None) -> None:
    """Once is enough: what comes after the first signal is the table."""
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.SIG_IGN)
    raise Ended


def options() -> argparse.Namespace:
    """What was asked for."""
    known: Any = argparse.ArgumentParser(prog="python -m tests.gpu", description=__doc__)
    known.add_argument("--out", type=Path, default=Path(os.environ.get("OUT") or "gpu-out"))
    known.add_argument("--minutes", type=float, default=8.0)
    known.add_argument("--rounds", type=int, default=5, help="of every comparison, at most")
    known.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    known.add_argument(
        "--only", nargs="+", default=[], metavar="WORD", help="measures on FLUX's layout with such a title"
    )
    known.add_argument("--small", action="store_true", help="tiny models, on any machine")
    return known.parse_args()


def main() -> int:
    """Run the stages; without an accelerator say so."""
    given = options()
    given.out = given.out.absolute()
    import torch

    if not torch.accelerator.is_available() and not given.small:
        print("no accelerator on this machine: nothing to run")
        return 0
    given.out.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(given.out / "demo", ignore_errors=True)
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, ended)
    return Session(given).run()


if __name__ == "__main__":
    sys.exit(main())
