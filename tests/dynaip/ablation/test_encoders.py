"""The reviewers' question on tiny random towers of the true classes: each arm is trained behind its own, and one behind two."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dynaip.ablation.execute import ablate
from dynaip.config import load_ablation
from dynaip.runs import Run
from tests.tiny_towers import save


@pytest.mark.usefixtures("forked_workers")
def test_arms_differ_in_their_towers_alone(ablation_file: Callable[..., Path], tmp_path: Path) -> None:
    folders = {name: tmp_path / "towers" / name for name in ("dinov2_registers", "siglip")}
    models = {name: save(name, folder) for name, folder in folders.items()}
    places = {name: str(folder) for name, folder in folders.items()}
    encoders: dict[str, dict[str, Any]] = {
        "dino": {"use": "vit", "model": places["dinov2_registers"], "levels": {"low": 0.34, "high": 1.0}},
        "siglip": {"use": "vit", "model": places["siglip"], "levels": {"low": 0.34, "high": 1.0}},
        "both": {
            "use": "ensemble",
            "levels": {"low": "dino@1", "high": "siglip@3"},
            "towers": {"dino": places["dinov2_registers"], "siglip": places["siglip"]},
        },
    }
    arms = [{"name": name, "encoder": encoder} for name, encoder in encoders.items()]
    file = ablation_file({"axes": {}, "arms": arms}, steps=1, checkpoint_every=1)
    result = ablate(load_ablation(file), tmp_path / "out")
    assert not result.failed and set(result.results["arm"]) == set(encoders)
    assert len(list((tmp_path / "out" / "trainings").glob("*.yaml"))) == 3
    marks = {name: _mark(model) for name, model in models.items()}
    found = {name: _signature(tmp_path / "out", name) for name in encoders}
    assert found["dino"]["weights"] == marks["dinov2_registers"] and found["siglip"]["weights"] == marks["siglip"]
    towers = found["both"]["towers"]
    assert {name: tower["weights"] for name, tower in towers.items()} == {
        name: found[name]["weights"] for name in ("dino", "siglip")
    }
    assert found["both"]["levels"] == {"low": ["dino", 1], "high": ["siglip", 3]}


def _signature(out: Path, arm: str) -> dict[str, Any]:
    """What the adapter of an arm says of the encoder that it was trained behind."""
    (folder,) = (out / "arms").glob(f"{arm}-*")
    return json.loads((Run(folder).adapter / "config.json").read_text())["encoder"]["signature"]


def _mark(model: Any) -> str:
    """12 hex digits of the first matrix of the first layer."""
    layers = next(each for each in model.modules() if isinstance(each, torch.nn.ModuleList))
    first = next(each for each in layers[0].parameters() if each.ndim > 1)
    return hashlib.sha256(first.detach().float().numpy().tobytes()).hexdigest()[:12]
