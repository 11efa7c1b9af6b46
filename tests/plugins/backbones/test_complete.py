"""A pipeline whose files lack weights is refused, or told of: nothing is made up in silence."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dynaip.errors import InputError
from dynaip.notes import Note
from dynaip_plugins.backbones.flux.config import FluxConfig
from dynaip_plugins.backbones.flux.model import FluxBackbone


def without_one(folder: Path, part: str, into: Path) -> str:
    """A copy of a pipeline with one tensor of a part taken out of its file; its name."""
    shutil.copytree(folder, into)
    (file,) = (into / part).glob("*.safetensors")
    weights = load_file(file)
    name = next(name for name in weights if "norm" in name and name.endswith("weight"))
    del weights[name]
    save_file(weights, file, metadata={"format": "pt"})
    return name


def load(folder: Path) -> None:
    FluxBackbone(FluxConfig(model=str(folder))).load(device="cpu", dtype=torch.float32)


@pytest.mark.parametrize("part", ["transformer", "vae"])
def test_parts_that_are_painted_with(part: str, tiny_flux_folder: Path, tmp_path: Path) -> None:
    name = without_one(tiny_flux_folder, part, tmp_path / "pipe")
    with pytest.raises(InputError, match=rf"lack weights of its {part}: .*{name}") as caught:
        load(tmp_path / "pipe")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", ["text_encoder", "text_encoder_2"])
def test_text_encoders(part: str, tiny_flux_folder: Path, tmp_path: Path) -> None:
    name = without_one(tiny_flux_folder, part, tmp_path / "pipe")
    with pytest.warns(Note, match=f"lack weights of a text encoder, which begin by chance: .*{name}"):
        load(tmp_path / "pipe")


def test_a_whole_one_is_loaded_without_a_word(tiny_flux_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", Note)
        load(tiny_flux_folder)
    assert "MISSING" not in capfd.readouterr().err
