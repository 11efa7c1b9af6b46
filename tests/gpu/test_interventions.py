"""Analyses of microworld on the accelerator that generate or probe much."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.gpu.test_analyses import analyses_run


@pytest.mark.parametrize("what", ["granularity", "interventions"])
def test_analyses_run_on_the_device(device: torch.device, what: str, tmp_path: Path) -> None:
    analyses_run(device, what, tmp_path)
