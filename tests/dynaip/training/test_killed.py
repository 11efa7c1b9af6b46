"""Trainings in processes of their own: killed, asked to stop, two at once, workers, several processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
ENV = os.environ | {
    "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("", "plugins", "analysis")),
    "OMP_NUM_THREADS": "1",
}

pytestmark = pytest.mark.slow


@pytest.fixture
def command(experiment: Callable[..., Any], tmp_path: Path) -> Callable[..., list[str]]:
    """Write the config of a tiny experiment and give the command that trains it."""

    def make(*options: str, **training: Any) -> list[str]:
        settings = {"steps": 8, "batch_size": 4, "learning_rate": 1e-3, "checkpoint_every": 1, "log_every": 1}
        file = tmp_path / "tiny.yaml"
        file.write_text(experiment(training=settings | training).to_yaml())
        return [sys.executable, "-m", "dynaip.cli", "train", str(file), *options]

    return make


def done(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=ENV, capture_output=True, text=True, timeout=300, check=False)


def started(command: list[str], run: Path, *, step: int) -> subprocess.Popen[str]:
    """Start a training and wait until it has checkpointed a step."""
    process = subprocess.Popen(command, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 240
    while not list(run.glob(f"checkpoints/step-{step:06d}")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.01)
    return process


def test_killed_resumed_stopped_resumed_and_with_workers(
    train: Callable[..., Path], command: Any, same_weights: Any, lines: Any, tmp_path: Path
) -> None:
    """One run, killed once and asked to stop once, on the way with two loader workers, is the straight one's twin."""
    training = {"steps": 400, "checkpoint_every": 1}
    straight, run = train(tmp_path / "straight", training=training), tmp_path / "run"
    arguments = command("--run", str(run), **training)
    process = started(arguments, run, step=3)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    again = done(arguments)
    assert again.returncode == 2
    assert "add --resume" in again.stderr

    before = len(lines(run / "samples.jsonl"))
    process = started([*arguments, "--resume", "-s", "training.workers=2"], run, step=before + 2)
    second = done([*arguments, "--resume"])
    assert second.returncode == 2, "two processes on one folder"
    assert f"in use by process {process.pid}" in second.stderr
    assert len(second.stderr.strip().splitlines()) == 1
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate()
    assert process.returncode == 75, said
    assert "go on with --resume" in said

    last = done([*arguments, "--resume"])
    assert last.returncode == 0, last.stderr
    assert same_weights(straight, run)
    assert lines(run / "samples.jsonl") == lines(straight / "samples.jsonl")
    assert not (run / ".lock").exists()


def test_two_processes_train_one_adapter(command: Any, weights: Any, lines: Any, tmp_path: Path) -> None:
    """Half the batch in each of two processes: the same pairs a step as one process sees."""
    run = tmp_path / "run"
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    arguments = command("-o", str(run), steps=3, batch_size=2)
    made = done([arguments[0], *launcher, *arguments[1:]])
    assert made.returncode == 0, made.stderr[-3000:]
    assert made.stdout.count("adapter: ") == 1, "one process speaks"
    assert [line["step"] for line in lines(run / "samples.jsonl")] == [1, 2, 3]
    assert all(bool(value.isfinite().all()) for value in weights(run).values())
