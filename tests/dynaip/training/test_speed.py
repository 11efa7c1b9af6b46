"""What is compiled and copied for a step."""

from __future__ import annotations

import torch

from dynaip.training import speed


def test_deterministic_algorithms_are_asked_for_and_let_go() -> None:
    assert not torch.are_deterministic_algorithms_enabled()
    with speed.determinism(True):
        assert torch.are_deterministic_algorithms_enabled()
    with speed.determinism(False):
        assert not torch.are_deterministic_algorithms_enabled()
