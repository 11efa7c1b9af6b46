"""The same seed on the same machine gives the same adapter."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]


def test_the_same_seed_gives_the_same_adapter(tmp_path: Path, device: torch.device) -> None:
    """With algorithms alone that give the same bits in every run."""
    from safetensors.torch import load_file

    settings = ["-s", "training.steps=8", "-s", "training.deterministic=true", "-s", "source.size=64"]
    for name in ("one", "other"):
        command = ["train", "microworld/dynaip", "-o", str(tmp_path / name), "--device", device.type, *settings]
        environment = {**os.environ, "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
        subprocess.run([sys.executable, "-m", "dynaip.cli", *command], cwd=ROOT, check=True, env=environment)
    one, other = (load_file(tmp_path / name / "adapter" / "adapter.safetensors") for name in ("one", "other"))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
