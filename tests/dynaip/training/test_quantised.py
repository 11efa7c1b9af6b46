"""An adapter on a base whose weights are quantised: it learns, the base stays, and a run goes on where it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from dynaip.training import trainer as trainer_module
from dynaip.training.trainer import StepReport, Trainer

BACKENDS = {
    "torchao int8": ("torchao", {"quant_type": "Int8WeightOnlyConfig"}),
    "torchao float8": ("torchao", {"quant_type": "Float8WeightOnlyConfig"}),
    "nf4": ("bitsandbytes_4bit", {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}),
}


def options_of(name: str) -> dict[str, Any]:
    """What ``backbone.quantization`` says; skipped where the library is not installed."""
    backend, options = BACKENDS[name]
    pytest.importorskip(backend.partition("_")[0], reason=f"{name} needs it")
    return {"backend": backend, "options": options}


@pytest.mark.parametrize("name", BACKENDS)
def test_an_adapter_learns_on_a_quantised_base(
    train: Any, same_weights: Any, tiny_flux_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    base = {"use": "flux", "model": str(tiny_flux_folder), "quantization": options_of(name)}
    trainers, losses, carry_out = list[Trainer](), list[float](), trainer_module._carry_out

    def begun(trainer: Trainer, *given: Any, **options: Any) -> None:
        trainers.append(trainer)
        carry_out(trainer, *given, **options)

    monkeypatch.setattr(trainer_module, "_carry_out", begun)
    settings = {"steps": 24, "learning_rate": 2e-2, "drop_reference": 0, "drop_prompt": 0, "checkpoint_every": 12}
    sections = {"backbone": base, "source": {"use": "microworld", "size": 1, "pixels": 64}}

    def look(report: Any) -> None:
        if isinstance(report, StepReport):
            losses.append(report.loss)
            assert report.gradient_norm > 0

    straight = train(tmp_path / "straight", training=settings, on_progress=look, **sections)
    assert sum(losses[-6:]) < 0.9 * sum(losses[:6])
    broken = train(tmp_path / "broken", training=settings | {"steps": 12}, **sections)
    train(broken, training=settings, resume=True, **sections)
    assert same_weights(straight, broken)
    weights = [trainer.pipe.transformer.transformer_blocks[0].attn.to_q.weight for trainer in trainers]
    assert type(weights[0]) is not torch.nn.Parameter, "quantised indeed"
    used, unused = (
        each.dequantize() if hasattr(each, "dequantize") and name != "nf4" else each for each in weights[:2]
    )
    assert torch.equal(used, unused), "the base of a finished training is that of another one"
