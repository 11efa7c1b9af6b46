"""What a step takes of the memory, and what is said where it is full."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from dynaip.training import room


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
    a_sample = room.kept_bytes(Sized(), 1024 + 512) / 2**30
    assert a_sample == pytest.approx((60.3 - 39.4) / 3, rel=0.2)


@pytest.mark.parametrize(("free", "batch", "wanted"), [(50, 4, False), (50, 8, True), (10, 1, False), (8, 1, True)])
def test_auto_computes_again_what_would_not_fit(
    free: int, batch: int, wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free * 2**30, 80 * 2**30))
    assert room.wants_checkpointing("auto", Sized("cuda"), batch * 1536) is wanted


@pytest.mark.parametrize("setting", [True, False])
def test_what_is_asked_for_is_done(setting: bool) -> None:
    assert room.wants_checkpointing(setting, Sized("cuda"), 10**9) is setting


@pytest.mark.parametrize(("free", "wanted"), [(10, False), (8, True)])
def test_a_machine_s_memory_counts_as_an_accelerator_s(
    free: int, wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dynaip.training.memory.machine_memory", lambda: free * 2**30)
    assert room.wants_checkpointing("auto", Sized("cpu"), 1536) is wanted


@pytest.mark.parametrize(
    ("free", "checkpointing", "fits"), [(8, False, True), (6, False, False), (1, True, True), (0.4, True, False)]
)
def test_a_step_that_will_hardly_fit_is_told(
    free: float, checkpointing: bool, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "free_memory", lambda device: int(free * 2**30))
    said, found = room.told_need(Sized("cpu"), 1536, (), checkpointing=checkpointing)
    assert found is fits
    assert "training.batch_size" in said
    assert ("training.gradient_checkpointing" in said) is not checkpointing


@pytest.mark.parametrize(("batch", "checkpointing", "seen"), [(1, False, 36.3), (4, True, 31.9)])
def test_what_a_step_takes_is_what_a_gpu_showed(batch: int, checkpointing: bool, seen: float) -> None:
    """An H200 at 512 px: FLUX.1-dev in bf16, a tower of 304 M and an adapter of 501 M weights in fp32, one step."""
    adapter = torch.empty(501_000_000, device="meta")
    models = 11.9e9 * 2 + 304e6 * 4 + 501e6 * 4
    step = room.step_bytes(Sized(), batch * 1536, [adapter], checkpointing=checkpointing)
    assert (models + step) / 2**30 == pytest.approx(seen, rel=0.06)


def test_a_full_memory_says_what_a_step_takes() -> None:
    kept = room.StepRoom(False)
    transformer, latents = Sized(), torch.empty(2, 16, 4, device="meta")
    transformer.disable_gradient_checkpointing = lambda: None  # pyright: ignore[reportAttributeAccessIssue]
    text = {"prompt_embeds": torch.empty(2, 8, 4, device="meta"), "pooled_prompt_embeds": torch.empty(2, 4)}
    assert not kept.choose(transformer, text, latents, ())
    assert not kept.checkpointing
    with pytest.raises(torch.OutOfMemoryError) as caught, kept.told_when_full():
        raise torch.OutOfMemoryError("CUDA out of memory")
    need = room.kept_bytes(transformer, 2 * (16 + 8))
    assert f"a step takes about {need / 1e9:.1f} GB" in caught.value.__notes__[0]
