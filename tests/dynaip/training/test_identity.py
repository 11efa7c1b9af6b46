"""Checkpoints belong to the models and parts that they were trained with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from dynaip.errors import MismatchError
from dynaip.training import checkpoints
from dynaip.training.identity import check, digest

Train = Callable[..., Path]


def test_every_weight_counts_and_nothing_else() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)).eval()
    before = digest(module)
    assert digest(module) == before
    assert digest(module.to(torch.float32)) == before
    seen = {before}
    for value in module.state_dict().values():
        saved = value.clone()
        value.view(-1)[-1] += 1 if value.dtype == torch.int64 else 1e-3
        seen.add(digest(module))
        value.copy_(saved)
    assert len(seen) == 1 + len(module.state_dict()), "each change gives another digest"
    assert digest(module) == before


def test_a_type_on_the_way_is_the_type_in_memory() -> None:
    """A base in float32 on a CPU and in bfloat16 on an accelerator is the same base."""
    torch.manual_seed(0)
    module = nn.Linear(6, 6)
    wide = digest(module, torch.bfloat16)
    assert digest(module.to(torch.bfloat16)) == wide
    assert digest(module.to(torch.float32), torch.bfloat16) == wide


def test_weights_that_do_not_show_their_bits_are_known_by_name_and_shape() -> None:
    class Closed(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func in (torch.Tensor.view, torch.Tensor.sum):
                raise NotImplementedError("quantised")
            return super().__torch_function__(func, types, args, kwargs or {})

    class Quantised(nn.Module):
        def __init__(self, rows: int) -> None:
            super().__init__()
            self.register_buffer("codes", torch.zeros(rows, 2).as_subclass(Closed))

    assert digest(Quantised(3)) == digest(Quantised(3))
    assert digest(Quantised(3)) != digest(Quantised(4))


def test_fields_that_one_side_does_not_know_are_not_compared() -> None:
    now = {"encoder": {"levels": {"low": 1}, "weights": "a"}, "fusion": {"use": "x"}}
    check({}, now, "here")
    check({"encoder": {"levels": {"low": 1}, "gone": 3}}, now, "here")
    with pytest.raises(MismatchError, match=r"here: encoder\.levels was \{'low': 2\} and is now \{'low': 1\}"):
        check({"encoder": {"levels": {"low": 2}, "weights": "b"}}, now, "here")


@pytest.fixture
def interrupted(train: Train, experiment: Any, tmp_path: Path) -> Callable[..., Path]:
    """Train two steps of six into a run, from copies of the tiny models that a test may change."""

    config = experiment()
    for part in ("backbone", "encoder"):
        shutil.copytree(getattr(config, part).config.model, tmp_path / part)

    return lambda: stopped(train, tmp_path / "run", **given(tmp_path))


def stopped(train: Train, run: Path, **sections: Any) -> Path:
    """Train two steps of six into a run."""

    def stop(report: Any) -> None:
        if getattr(report, "step", 0) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(run, on_progress=stop, **sections)
    return run


def given(folder: Path) -> dict[str, Any]:
    encoder = {"use": "clip", "model": str(folder / "encoder"), "levels": {"low": 1, "mid": 2, "high": 4}}
    return {"backbone": {"use": "flux", "model": str(folder / "backbone")}, "encoder": encoder}


def touched(file: Path, part: str) -> None:
    """Change one number of one weight."""
    weights = load_file(file)
    name = next(name for name in sorted(weights) if part in name)
    weights[name].view(-1)[-1] += 0.01
    save_file(weights, file, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("file", "part", "field"),
    [
        ("encoder/model.safetensors", "layers.2.mlp.fc1.weight", "encoder.weights"),
        ("backbone/transformer/diffusion_pytorch_model.safetensors", "norm_added_k", "backbone.weights of transformer"),
        ("backbone/vae/diffusion_pytorch_model.safetensors", "encoder", "backbone.weights of vae"),
        ("backbone/text_encoder_2/model.safetensors", "wi", "backbone.weights of text_encoder_2"),
    ],
)
def test_other_weights_at_the_same_path_are_refused(
    train: Train, interrupted: Any, tmp_path: Path, file: str, part: str, field: str
) -> None:
    run = interrupted()
    touched(tmp_path / file, part)
    logs = {log: (run / log).read_bytes() for log in ("samples.jsonl", "metrics.jsonl")}
    with pytest.raises(MismatchError, match=f"step 2: {field} was .* and is now") as caught:
        train(run, resume=True, **given(tmp_path))
    assert "\n" not in str(caught.value)
    assert logs == {log: (run / log).read_bytes() for log in logs}, "nothing was cut off"


@pytest.mark.parametrize(
    ("sections", "field"),
    [
        ({"encoder": {"levels": {"low": 1, "mid": 3, "high": 4}}}, "encoder.levels"),
        ({"encoder": {"levels": {"low": 1, "mid": 2, "top": 4}}}, "encoder.levels"),
        ({"fusion": {"use": "hmoe", "router": "image"}}, "fusion.router"),
        ({"decoupling": "image_only"}, "decoupling"),
        ({"adapter": {"token_width": 16, "blocks": [0]}}, "adapter.blocks"),
        ({"adapter": {"token_width": 8}}, "adapter.token_width"),
    ],
)
def test_a_checkpoint_of_other_parts_is_refused_whatever_the_config_says(
    train: Train, undisturbed: Path, experiment: Any, tmp_path: Path, sections: dict[str, Any], field: str
) -> None:
    """The checkpoints of one run in the folder of another one, whose config is that of the command."""
    if "encoder" in sections:
        sections = {"encoder": {"use": "clip", "model": experiment().encoder.config.model} | sections["encoder"]}
    other = stopped(train, tmp_path / "other", **sections)
    shutil.rmtree(other / "checkpoints")
    shutil.copytree(undisturbed / "checkpoints", other / "checkpoints")
    with pytest.raises(MismatchError, match=f"step 6: {field}"):
        train(other, resume=True, **sections)


def test_a_checkpoint_that_says_nothing_of_itself_still_loads(
    train: Train, interrupted: Any, same_weights: Any, tmp_path: Path
) -> None:
    straight, run = train(tmp_path / "straight", **given(tmp_path)), interrupted()
    folder = checkpoints.found(run / "checkpoints")[-1]
    state = json.loads((folder / checkpoints.STATE).read_text())
    del state["identity"]
    (folder / checkpoints.STATE).write_text(json.dumps(state))
    sums = {name: checkpoints.digest(folder / name) for name in checkpoints.FILES}
    (folder / checkpoints.MANIFEST).write_text(json.dumps(sums))
    train(run, resume=True, **given(tmp_path))
    assert same_weights(straight, run)
