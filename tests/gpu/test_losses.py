"""Trainings of the embedded world on the accelerator: the same losses as on a CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from tests.gpu.conftest import CPU, tried_on

TRIED = tried_on() == CPU
STEPS, BATCH, PAIRS = (40, 4, 32) if TRIED else (200, 16, 96)
"""Of a training; fewer where it is only tried whether all of this works."""
THREADS = min(4, os.cpu_count() or 1)
ROOT = Path(__file__).parents[2]


def training(run: Path, device: str, seed: int) -> subprocess.Popen[bytes]:
    """A training of the embedded world's recipe, in a process of its own."""
    settings = {"training.steps": STEPS, "training.batch_size": BATCH, "training.seed": seed, "training.log_every": 1,
                "training.checkpoint_every": 1000, "training.threads": THREADS, "source.size": PAIRS}  # fmt: skip
    given = [part for name, value in settings.items() for part in ("-s", f"{name}={value}")]
    command = [
        sys.executable,
        "-m",
        "dynaip.cli",
        "train",
        "microworld/dynaip",
        "-o",
        str(run),
        "--device",
        device,
        *given,
    ]
    return subprocess.Popen(command, cwd=ROOT)


def test_losses_follow_those_of_a_cpu(tmp_path: Path, device: torch.device) -> None:
    """Means over windows of 20 steps differ by less than those of two seeds do on a CPU."""
    sides = {"there": (device.type, 0), "here": ("cpu", 0), "other": ("cpu", 1)}
    running = {name: training(tmp_path / name, where, seed) for name, (where, seed) in sides.items()}
    assert {name: process.wait() for name, process in running.items()} == dict.fromkeys(sides, 0)
    windows: dict[str, np.ndarray] = {}
    for name in sides:
        rows = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        losses = np.array([json.loads(row)["loss"] for row in rows], dtype=float)
        assert len(losses) == STEPS
        assert np.isfinite(losses).all()
        windows[name] = losses.reshape(-1, 20).mean(axis=1)
    spread = np.abs(windows["here"] - windows["other"]).max()
    assert np.abs(windows["there"] - windows["here"]).max() <= spread
    assert TRIED or windows["there"][-1] < windows["there"][0]
