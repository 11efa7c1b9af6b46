"""Analyses of microworld on the accelerator; what takes longest has a file, and so a process, of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch


def analyses_run(device: torch.device, what: str, out: Path) -> None:
    """Run one kind of analysis, which has to use the device and to leave a picture."""
    from dynaip.cli.app import main

    on_cuda = device.type == "cuda"
    if on_cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.max_memory_allocated()
    less = ["-s", "cases=4", *(["-s", "probed=60"] if what == "granularity" else [])]
    assert main(["analyze", "microworld", what, "-o", str(out), *less, "--device", device.type]) == 0
    assert list(out.rglob("*.png"))
    assert not on_cuda or torch.cuda.max_memory_allocated() > before + 2**20


@pytest.mark.parametrize("what", ["attention", "routing", "decoupling"])
def test_analyses_run_on_the_device(device: torch.device, what: str, tmp_path: Path) -> None:
    analyses_run(device, what, tmp_path)
