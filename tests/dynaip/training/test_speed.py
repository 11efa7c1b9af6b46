"""What is kept, compiled and copied for a step."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from dynaip.training import speed


class Sized(nn.Module):
    """A transformer as far as its sizes are asked for."""

    def __init__(self, device: str = "cpu") -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, dtype=torch.bfloat16))
        self.config = SimpleNamespace(
            num_layers=19, num_single_layers=38, num_attention_heads=24, attention_head_dim=128
        )
        self.where = device

    def parameters(self, recurse: bool = True) -> Any:
        held = SimpleNamespace(device=torch.device(self.where), element_size=lambda: 2)
        return iter([held])


def test_what_blocks_keep_is_what_a_gpu_showed() -> None:
    """FLUX.1-dev at 512 px on an H100: 60.3 GiB at batch 4 against 39.4 at batch 1, so 7 GiB a sample of 1536 tokens."""
    a_sample = speed.kept_bytes(Sized(), 1024 + 512) / 2**30
    assert a_sample == pytest.approx((60.3 - 39.4) / 3, rel=0.2)


@pytest.mark.parametrize(("free", "batch", "wanted"), [(50, 4, False), (50, 8, True), (10, 1, False), (8, 1, True)])
def test_auto_computes_again_what_would_not_fit(
    free: int, batch: int, wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free * 2**30, 80 * 2**30))
    assert speed.wants_checkpointing("auto", Sized("cuda"), batch * 1536) is wanted


@pytest.mark.parametrize("setting", [True, False])
def test_what_is_asked_for_is_done(setting: bool) -> None:
    assert speed.wants_checkpointing(setting, Sized("cuda"), 10**9) is setting


@pytest.mark.parametrize(("free", "wanted"), [(10, False), (8, True)])
def test_a_machine_s_memory_counts_as_an_accelerator_s(
    free: int, wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dynaip.training.memory.machine_memory", lambda: free * 2**30)
    assert speed.wants_checkpointing("auto", Sized("cpu"), 1536) is wanted


@pytest.mark.parametrize(
    ("free", "checkpointing", "short"), [(8, False, False), (6, False, True), (6, True, False), (0.4, True, True)]
)
def test_a_step_that_will_hardly_fit_is_told(
    free: float, checkpointing: bool, short: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dynaip.training.memory.machine_memory", lambda: int(free * 2**30))
    said = speed.shortage(Sized("cpu"), 1536, checkpointing=checkpointing)
    assert (said is not None) is short
    assert said is None or "training.batch_size" in said


def test_deterministic_algorithms_are_asked_for_and_let_go() -> None:
    assert not torch.are_deterministic_algorithms_enabled()
    with speed.determinism(True):
        assert torch.are_deterministic_algorithms_enabled()
    with speed.determinism(False):
        assert not torch.are_deterministic_algorithms_enabled()


def test_on_a_cpu_nothing_is_copied() -> None:
    values = torch.ones(3)
    assert speed.to_device(values, torch.device("cpu")) is values
