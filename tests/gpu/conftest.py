"""Everything here needs an accelerator."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def _accelerator() -> None:
    if not torch.accelerator.is_available():
        pytest.skip("no accelerator on this machine")


@pytest.fixture
def device() -> torch.device:
    """The accelerator."""
    from dynaip.device import choose

    return choose()
