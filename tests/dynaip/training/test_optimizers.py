"""Optimizers by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from dynaip.errors import MissingDependency
from dynaip.training import optimizers


def test_what_is_not_installed_is_one_line_before_anything_is_loaded(
    train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optimizers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match=r"adamw8bit needs bitsandbytes: pip install 'dynaip\[quantized\]'"):
        train(tmp_path / "run", training={"optimizer": "adamw8bit"})


def test_moments_of_8_bits_are_a_quarter_and_go_on_where_they_were(
    train: Any, same_weights: Any, lines: Any, tmp_path: Path
) -> None:
    pytest.importorskip("bitsandbytes", reason="adamw8bit needs bitsandbytes")
    settings = {"steps": 4, "optimizer": "adamw8bit", "batch_size": 2, "gradient_accumulation": 1}
    wide = {"token_width": 64}  # tensors below 4096 values keep their moments in float32
    straight = train(tmp_path / "straight", training=settings, adapter=wide)
    broken = train(tmp_path / "broken", training=settings | {"steps": 2}, adapter=wide)
    train(broken, training=settings, adapter=wide, resume=True)
    assert same_weights(straight, broken)
    plain = train(tmp_path / "plain", training=settings | {"optimizer": "adamw"}, adapter=wide)
    eight, full = (
        load_file(run / "checkpoints" / "step-000004" / "optimizer.safetensors") for run in (straight, plain)
    )
    assert {each.dtype for name, each in eight.items() if name.endswith("state1")} == {torch.uint8, torch.float32}
    number = next(name.partition(".")[0] for name, each in eight.items() if each.dtype == torch.uint8)
    moments = [each for name, each in eight.items() if name.startswith(f"{number}.") and "qmap" not in name]
    kept = sum(each.nbytes for each in moments) / full[f"{number}.exp_avg"].numel()
    assert kept == pytest.approx(optimizers.STATE_BYTES["adamw8bit"], rel=0.02)
    losses = [[line["loss"] for line in lines(run / "metrics.jsonl")] for run in (straight, plain)]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
