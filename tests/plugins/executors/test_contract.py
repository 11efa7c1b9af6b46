"""What every executor does with jobs, held together: codes, stops, losses, slots, and a driver that dies."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dynaip.ablation.driver import DrivenExecutor, drive
from dynaip.contracts import Job

pytestmark = pytest.mark.slow

Build = Callable[[], DrivenExecutor]

SPAN = """
import os, sys, time
log = open({spans!r}, "a")
print("begin", time.time(), file=log, flush=True)
time.sleep(0.4)
def leave(code):
    print("end", time.time(), file=log, flush=True)
    sys.exit(code)
first = not os.path.exists({marker!r})
open({marker!r}, "w").close()
"""
WORK = {
    "fine": "print('told', os.environ['ASKED']); leave(0)",
    "broken": "leave(3)",
    "killed": "print('end', time.time(), file=log, flush=True); os.kill(os.getpid(), 9)",
    "stopped": "import signal; signal.signal(signal.SIGTERM, lambda *a: leave(75))\n"
    "if first: os.kill(os.getpid(), signal.SIGTERM)\n"
    "print('went on'); leave(0)",
    "lost": "if first:\n    os.kill(os.getppid(), 9); leave(0)\nprint('again'); leave(0)",
}


def job(folder: Path, name: str, code: str, **more: Any) -> Job:
    return Job(name, (sys.executable, "-S", "-c", code), folder / "logs" / f"{name}.txt", **more)


def most_at_a_time(spans: Path) -> int:
    events = sorted((float(moment), what) for what, moment in (line.split() for line in spans.read_text().splitlines()))
    running = peak = 0
    for _, what in events:
        running += 1 if what == "begin" else -1
        peak = max(peak, running)
    return peak


def test_codes_stops_losses_and_slots(build: Build, options: dict[str, Any], tmp_path: Path) -> None:
    spans, heard = tmp_path / "spans", list[tuple[str, str]]()
    names = [name for name in WORK if name != "lost" or options["use"] != "local"]  # its parent would be this process
    jobs = [
        job(
            tmp_path, name, SPAN.format(spans=str(spans), marker=str(tmp_path / f"{name}.begun")) + WORK[name],
            environment={"ASKED": "for"},
        )
        for name in names
    ]  # fmt: skip
    codes = drive(build(), jobs, on_change=lambda each, what: heard.append((each.name, what)))
    expected = {"fine": 0, "broken": 3, "killed": -signal.SIGKILL, "stopped": 0, "lost": 0}
    assert codes == {name: expected[name] for name in names}
    assert jobs[0].log.read_text() == "told for\n"
    assert jobs[3].log.read_text() == "went on\n", "what stopped and saved is started again"
    assert [what for name, what in heard if name == "stopped"] == ["started", "resumed", "finished"]
    assert [what for name, what in heard if name == "broken"] == ["started", "failed"], "its own word is final"
    assert most_at_a_time(spans) <= 2
    if "lost" in names:
        assert jobs[4].log.read_text() == "again\n"


DRIVER = """
from pathlib import Path
from dynaip.ablation.driver import drive
from dynaip.config import ComponentSpec
from dynaip.contracts import Job
from dynaip.registry import registry
job = Job("one", {arguments!r}, Path({log!r}))
executor = registry().build(ComponentSpec.parse("executor", {options!r}))
drive(executor, [job], on_change=lambda job, what: None)
"""
LONG = """
import signal, sys, time
from pathlib import Path
folder = Path({folder!r})
signal.signal(signal.SIGTERM, lambda *a: (open(folder / "saved", "a").write("x"), sys.exit(75)))
open(folder / "starts", "a").write("x")
while not (folder / "go").exists():
    time.sleep(0.05)
open(folder / "done", "a").write("x")
"""
ENDS_WITH_ITS_PARENT = "from dynaip.signals import end_with_parent; end_with_parent()\n"


def begun(process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + 120
    while not (folder / "starts").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_driver_that_ends_finds_its_jobs_again(
    kind: str, build: Build, options: dict[str, Any], tmp_path: Path, number: int
) -> None:
    """Where jobs end with it they save themselves first; a scheduler's go on and are found. Nothing is done twice."""
    if number == signal.SIGTERM and kind not in ("local", "slurm_stub"):
        pytest.skip("what a signal does is no matter of what jobs run on")
    if kind == "ray":
        pytest.skip(
            "a job of a local Ray cluster outlives a killed driver; the lock of its run folder refuses a second one"
        )
    code = ENDS_WITH_ITS_PARENT + LONG.format(folder=str(tmp_path))
    arguments, log = (sys.executable, "-c", code), tmp_path / "logs" / "one.txt"
    text = DRIVER.format(arguments=arguments, log=str(log), options=options)
    process = subprocess.Popen([sys.executable, "-c", text], stderr=subprocess.DEVNULL)
    try:
        begun(process, tmp_path)
    except AssertionError:
        process.kill()
        raise
    goes_on = options["use"] == "slurm"
    if goes_on:
        time.sleep(1)  # it notes what it handed over
    process.send_signal(number)
    process.wait(60)
    if not goes_on:
        deadline = time.monotonic() + 30
        while not (tmp_path / "saved").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert (tmp_path / "saved").exists()
    (tmp_path / "go").touch()
    codes = drive(build(), [Job("one", arguments, log)], on_change=lambda job, what: None)
    assert codes == {"one": 0}
    assert (tmp_path / "done").read_text() == "x"
    if goes_on and number == signal.SIGTERM:
        assert not (tmp_path / "saved").exists()
