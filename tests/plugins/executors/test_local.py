"""Jobs as processes: how many at a time, codes, logs, and signals that reach them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from dynaip.config import ComponentSpec
from dynaip.contracts import Job
from dynaip.errors import InputError, Interrupted
from dynaip.registry import registry
from dynaip_plugins.executors.local.model import LocalExecutor, visible_gpus

ROOT = Path(__file__).parents[3]


def executor(**options: Any) -> LocalExecutor:
    return registry().build(ComponentSpec.parse("executor", {"use": "local", **options}))


def job(folder: Path, name: str, code: str) -> Job:
    return Job(name, (sys.executable, "-S", "-c", code), folder / "logs" / f"{name}.txt")


def test_codes_logs_and_changes(tmp_path: Path) -> None:
    heard: list[tuple[str, str]] = []
    jobs = [
        job(tmp_path, "fine", "import os; print('threads', os.environ['OMP_NUM_THREADS'])"),
        job(tmp_path, "broken", "raise SystemExit(3)"),
        job(tmp_path, "killed", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"),
    ]
    codes = executor(jobs=2, threads=3).run(jobs, on_change=lambda each, what: heard.append((each.name, what)))
    assert codes == {"fine": 0, "broken": 3, "killed": -signal.SIGKILL}
    assert jobs[0].log.read_text() == "threads 3\n"
    assert [what for name, what in heard if name == "fine"] == ["started", "finished"]
    assert [what for name, what in heard if name == "killed"] == ["started", "failed"]


def test_gpus_are_given_to_one_job_at_a_time(tmp_path: Path) -> None:
    """Three GPUs, jobs that want two, one and one: nobody shares, and nobody waits for processes."""
    code = (
        f"import os, time; seen = os.environ['CUDA_VISIBLE_DEVICES'].split(','); held = {str(tmp_path)!r};"
        "[os.mkdir(os.path.join(held, gpu)) for gpu in seen]; time.sleep(0.3);"
        "[os.rmdir(os.path.join(held, gpu)) for gpu in seen]; print(len(seen))"
    )
    jobs = [replace(job(tmp_path, str(k), code), gpus=gpus) for k, gpus in enumerate((2, 1, 1, 2))]
    codes = executor(jobs=9, gpus=[0, 3, 5]).run(jobs, on_change=lambda each, what: None)
    assert set(codes.values()) == {0}
    assert [each.log.read_text() for each in jobs] == ["2\n", "1\n", "1\n", "2\n"]
    with pytest.raises(InputError, match="0 wants 2 GPUs, and there are 1 here"):
        executor(gpus=[7]).run(jobs, on_change=lambda each, what: None)


def test_gpus_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, found in (("2,GPU-5c", ["2", "GPU-5c"]), ("", []), ("-1", [])):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", text)
        assert visible_gpus() == found


def test_never_more_than_wanted_at_a_time(tmp_path: Path) -> None:
    running, peak = 0, 0

    def hear(each: Job, what: str) -> None:
        nonlocal running, peak
        running += 1 if what == "started" else -1
        peak = max(peak, running)

    jobs = [job(tmp_path, str(k), "import time; time.sleep(0.2)") for k in range(5)]
    executor(jobs=2).run(jobs, on_change=hear)
    assert peak == 2


@pytest.mark.parametrize(("number", "error"), [(signal.SIGTERM, Interrupted), (signal.SIGINT, KeyboardInterrupt)])
def test_signals_reach_the_jobs(tmp_path: Path, number: int, error: type[BaseException]) -> None:
    """SIGTERM ends with the exit code that says "resume me", Ctrl-C as Ctrl-C does; jobs save either way."""
    ready = tmp_path / "ready"
    code = (
        "import signal, sys, time, pathlib;"
        "signal.signal(signal.SIGTERM, lambda *a: (print('saved', flush=True), sys.exit(75)));"
        f"pathlib.Path({str(ready)!r}).touch(); time.sleep(30)"
    )
    jobs = [job(tmp_path, "one", code), job(tmp_path, "two", "print('never')")]

    def terminate() -> None:
        while not ready.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    threading.Thread(target=terminate).start()
    with pytest.raises(error):
        executor(jobs=1).run(jobs, on_change=lambda each, what: None)
    assert jobs[0].log.read_text() == "saved\n"
    assert not jobs[1].log.exists()


def test_a_job_ends_with_the_process_that_runs_it(tmp_path: Path) -> None:
    """The executor's process is killed before its job has begun to look; whoever adopts the job is not its parent."""
    ready, left = tmp_path / "ready", tmp_path / "left"
    job_code = (
        f"import os, sys, time, pathlib; sys.path.insert(0, {str(ROOT)!r});"
        f"pathlib.Path({str(ready)!r}).write_text(str(os.getpid())); time.sleep(0.5);"
        "from dynaip.signals import end_with_parent; end_with_parent();"
        f"time.sleep(3); pathlib.Path({str(left)!r}).touch()"
    )
    code = (
        "from pathlib import Path; from dynaip.contracts import Job;"
        "from dynaip_plugins.executors.local import config, model;"
        f"jobs = [Job('one', ({sys.executable!r}, '-S', '-c', {job_code!r}), Path({str(tmp_path / 'log')!r}))];"
        "model.LocalExecutor(config.LocalConfig()).run(jobs, on_change=lambda job, what: None)"
    )
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "plugins")))
    process = subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": paths})
    deadline = time.monotonic() + 60
    while not (ready.exists() and ready.read_text()) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    job = int(ready.read_text())
    while _runs(job) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(job)
    assert not left.exists()


def _runs(number: int) -> bool:
    """Whether a process is there and has not ended (whoever adopted it may not have asked for its code yet)."""
    try:
        return psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
