"""Trainings in processes of their own: killed, asked to stop, two at once, workers, several processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest

from dynaip.cli.app import main
from tests.forked import Forked, together

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


Here = Callable[[list[str]], tuple[int, str]]


@pytest.fixture
def here(capfd: pytest.CaptureFixture[str]) -> Here:
    """Run a command in this process, which has everything loaded; its exit code, and what it said."""

    def run(command: list[str]) -> tuple[int, str]:
        capfd.readouterr()
        return main(command[3:]), capfd.readouterr().err

    return run


def started(command: list[str], run: Path, *, step: int, start: Any = subprocess.Popen) -> Any:
    """Start a training and wait until it has checkpointed a step."""
    process = start(command, env=ENV, stdout=PIPE, stderr=PIPE, text=True)
    end = time.monotonic() + 240
    while max((int(folder.name[5:]) for folder in run.glob("checkpoints/step-*")), default=0) < step:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.01)
    return process


def test_killed_resumed_stopped_resumed_and_with_workers(
    train: Callable[..., Path], command: Any, same_weights: Any, lines: Any, tmp_path: Path, here: Here
) -> None:
    """One run, killed once and asked to stop once, on the way with two loader workers, is the straight one's twin."""
    training = {"steps": 60, "checkpoint_every": 1}
    straight, run = train(tmp_path / "straight", training=training), tmp_path / "run"
    arguments = command("--run", str(run), **training)
    process = started(arguments, run, step=3)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    code, said = here(arguments)
    assert code == 2
    assert "add --resume" in said

    before = len(lines(run / "samples.jsonl"))
    process = started([*arguments, "--resume", "-s", "training.workers=2"], run, step=before + 2, start=Forked)
    process.send_signal(signal.SIGSTOP)  # it is not to end while this process looks
    code, said = here([*arguments, "--resume"])
    assert code == 2, "two processes on one folder"
    assert f"in use by process {process.pid}" in said
    assert len(said.strip().splitlines()) == 1
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGCONT)
    _, said = process.communicate()
    assert process.returncode == 75, said
    assert "go on with --resume" in said

    assert here([*arguments, "--resume"])[0] == 0
    assert same_weights(straight, run)
    assert lines(run / "samples.jsonl") == lines(straight / "samples.jsonl")
    assert not (run / ".lock").exists()


LAUNCHER = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


def launched(command: list[str], *, launcher: bool) -> tuple[int, str, str]:
    """Run a script in two processes, of torch's launcher or without; exit code and what was said."""
    if not launcher:
        return together(command, ENV)
    line = [sys.executable, *LAUNCHER, *command]
    made = subprocess.run(line, env=ENV, capture_output=True, text=True, timeout=300, check=False)
    return made.returncode, made.stdout, made.stderr


COUNTED = """
import os, sys
from dynaip.training import setup
real = setup.encode
def counted(pairs, **named):
    with open({log!r}, "a") as log:
        log.write("".join(f"{{os.environ['RANK']}} {{pair.id}} {{pair.prompt}}\\n" for pair in pairs))
    return real(pairs, **named)
setup.encode = counted
from dynaip.cli.app import main
sys.exit(main())
"""
"""The command line, and a line for every pair that a process encodes."""


@pytest.mark.parametrize("sharded", [False, True])
def test_two_processes_train_the_adapter_that_one_trains(
    command: Any, train: Callable[..., Path], weights: Any, lines: Any, tmp_path: Path, sharded: bool
) -> None:
    """Two take a batch of each step; one goes on alone, and has both: all is as if one had trained from the start.

    Each may hold half of the base: blocks, whole again for their passes, find their references as others do. What lies on disk
    is encoded once, a share in each; the loss on held-out pairs, a share in each, is that of one process.
    """
    run, settings = tmp_path / "run", {"batch_size": 2, "gradient_accumulation": 1, "log_every": 1}
    other = {"use": "microworld", "size": 20, "pixels": 64, "seed": 5}
    settings |= {"ema": 0.5, "gradient_checkpointing": sharded}
    settings |= {"validation": {"pairs": 5, "every": 1, "timesteps": [0.5]} | ({} if sharded else {"source": other})}
    settings |= {} if sharded else {"cache": "disk", "cache_folder": str(tmp_path / "encodings")}
    arguments = command("-o", str(run), steps=2, shard_base=sharded, **settings)
    encoded, script = tmp_path / "encoded.txt", tmp_path / "counted.py"
    script.write_text(COUNTED.format(log=str(encoded)))
    code, out, said = launched([str(script), *arguments[3:]], launcher=not sharded)
    assert code == 0, said[-3000:]
    assert out.count("adapter: ") == 1, "one process speaks"
    if not sharded:
        ranks, pairs = zip(*(line.split(" ", 1) for line in encoded.read_text().splitlines()), strict=True)
        assert len(pairs) == len({*pairs}) == 24 + 20, "no pair twice"
        assert [ranks.count(rank) for rank in "01"] in (
            [16 + 16, 8 + 4],
            [8 + 16, 16 + 4],
            [16 + 4, 8 + 16],
            [8 + 4, 16 + 16],
        )
    straight = train(tmp_path / "straight", training={**settings, "steps": 4, "gradient_accumulation": 2})
    halfway = train(tmp_path / "half", training={**settings, "steps": 2, "gradient_accumulation": 2})
    close(weights(run), weights(halfway))
    said: list[str] = []
    train(run, training={**settings, "steps": 4}, resume=True, warn=said.append)
    assert "a step of this run holds 2 batches: each of the 1 processes takes 2" in said
    close(weights(run), weights(straight))
    assert lines(run / "samples.jsonl") == lines(straight / "samples.jsonl"), "those of both processes, in order"
    for name in ("loss", "validation_loss"):
        one, alone = ([line[name] for line in lines(folder / "metrics.jsonl")] for folder in (run, straight))
        assert one == pytest.approx(alone, abs=1e-6)


def test_a_process_that_dies_ends_the_training_which_goes_on_later(
    command: Any, lines: Any, tmp_path: Path, here: Here
) -> None:
    run, training = tmp_path / "run", {"steps": 300, "batch_size": 1, "checkpoint_every": 1}
    arguments = command("-o", str(run), **training)
    process = started([arguments[0], *LAUNCHER, *arguments[1:]], run, step=2)
    workers = subprocess.run(
        ["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True
    ).stdout.split()
    os.kill(int(workers[1]), signal.SIGKILL)
    began = time.monotonic()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert time.monotonic() - began < 60
    assert "another process of this training is gone" in said or "SIGKILL" in said
    before = max(int(folder.name[5:]) for folder in run.glob("checkpoints/step-*"))
    assert here([*arguments, "--resume", "-s", f"training.steps={before + 1}"])[0] == 0
    assert [line["step"] for line in lines(run / "samples.jsonl")] == list(range(1, before + 2))


def close(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    assert max(float((one[name] - other[name]).abs().max()) for name in one) <= 1e-6
