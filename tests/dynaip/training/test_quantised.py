"""An adapter on a base whose weights are quantised: it learns, the base stays, and a run goes on where it was."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from dynaip.training import trainer as trainer_module
from dynaip.training.trainer import StepReport, Trainer
from dynaip_plugins.backbones.flux.model import FluxBackbone

TORCHAO = {"torchao int8": "int8wo", "torchao float8": "float8wo"}


@pytest.fixture
def quantised(tiny_flux_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The tiny base, its linear layers in fewer bits."""

    def make(name: str) -> dict[str, Any]:
        base = {"use": "flux", "model": str(tiny_flux_folder)}
        if name in TORCHAO:
            pytest.importorskip("torchao", reason=f"{name} needs torchao")
            return base | {"quantization": {"backend": "torchao", "options": {"quant_type": TORCHAO[name]}}}
        pytest.importorskip("bitsandbytes", reason="nf4 needs bitsandbytes")
        load = FluxBackbone.load

        def loaded(self: Any, **options: Any) -> Any:
            pipe = load(self, **options)
            to_nf4(pipe.transformer.transformer_blocks)
            return pipe

        # Diffusers asks for a GPU before it does the same.
        monkeypatch.setattr(FluxBackbone, "load", loaded)
        return base

    return make


def to_nf4(module: torch.nn.Module) -> None:
    """Put bitsandbytes' layers in the place of all linear ones."""
    from bitsandbytes.nn import Linear4bit, Params4bit

    for name, child in module.named_children():
        if isinstance(child, torch.nn.Linear):
            made = Linear4bit(child.in_features, child.out_features, compute_dtype=torch.float32, quant_type="nf4")
            made.weight = Params4bit(child.weight.data, requires_grad=False, quant_type="nf4")
            made.bias = child.bias
            setattr(module, name, made.to("cpu"))
        else:
            to_nf4(child)


@pytest.mark.parametrize("name", [*TORCHAO, "nf4"])
def test_an_adapter_learns_on_a_quantised_base(
    train: Any, same_weights: Any, quantised: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    trainers, losses, carry_out = list[Trainer](), list[float](), trainer_module._carry_out

    def begun(trainer: Trainer, *given: Any, **options: Any) -> None:
        trainers.append(trainer)
        carry_out(trainer, *given, **options)

    monkeypatch.setattr(trainer_module, "_carry_out", begun)
    settings = {"steps": 24, "learning_rate": 2e-2, "drop_reference": 0, "drop_prompt": 0, "checkpoint_every": 12}
    sections = {"backbone": quantised(name), "source": {"use": "microworld", "size": 1, "pixels": 64}}

    def look(report: Any) -> None:
        if isinstance(report, StepReport):
            losses.append(report.loss)
            assert report.gradient_norm > 0

    straight = train(tmp_path / "straight", training=settings, on_progress=look, **sections)
    assert sum(losses[-6:]) < 0.9 * sum(losses[:6])
    broken = tmp_path / "broken"
    shutil.copytree(straight, broken)
    shutil.rmtree(broken / "adapter")
    shutil.rmtree(broken / "checkpoints" / "step-000024")
    train(broken, training=settings, resume=True, **sections)
    assert same_weights(straight, broken)
    weights = [trainer.pipe.transformer.transformer_blocks[0].attn.to_q.weight for trainer in trainers]
    assert type(weights[0]) is not torch.nn.Parameter, "quantised indeed"
    used, unused = (
        each.dequantize() if hasattr(each, "dequantize") and name != "nf4" else each for each in weights[:2]
    )
    assert torch.equal(used, unused), "the base of a finished training is that of another one"
