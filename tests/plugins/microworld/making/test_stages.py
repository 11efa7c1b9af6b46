"""The build at a tiny scale: complete, resumable, repeatable."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dynaip.errors import InputError
from dynaip_plugins.microworld.making import stages as building

TINY = 0.0004


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {
        f"{file.relative_to(folder)}:{name}": value
        for file in sorted(folder.rglob("*.safetensors"))
        for name, value in load_file(file).items()
    }


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("world")
    ran = building.build(out, scale=TINY, stages=["autoencoder", "clip", "oracle", "base"])
    assert ran == ["autoencoder", "clip", "oracle", "base"]
    return out


def test_build_leaves_every_part(built: Path) -> None:
    assert (built / "pipeline" / "model_index.json").exists()
    assert (built / "vision" / "preprocessor_config.json").exists()
    assert (built / "oracle" / "oracle.safetensors").exists()
    assert all(value.dtype in (torch.float16, torch.int64) for name, value in weights(built / "pipeline").items())


def test_complete_stages_are_skipped(built: Path) -> None:
    assert building.build(built, scale=TINY, stages=["autoencoder", "oracle"]) == []


def test_the_same_seed_gives_the_same_weights(built: Path, tmp_path: Path) -> None:
    building.build(tmp_path, scale=TINY, stages=["autoencoder", "oracle"])
    first, second = weights(built / "oracle"), weights(tmp_path / "oracle")
    assert first and all(torch.equal(first[name], second[name]) for name in first)


def test_measure_writes_figures_and_card(built: Path) -> None:
    assert building.build(built, scale=TINY, stages=["measure"]) == ["measure"]
    figures = json.loads((built / "figures.json").read_text())
    assert 0 <= figures["base_2_plain"]["pf"] <= 1
    assert figures["readers"]["autoencoder_psnr"] > 0
    card = (built / "MODEL_CARD.md").read_text()
    assert f"| 2 plain | {figures['base_2_plain']['pf']} | {figures['base_2_plain']['category']} |" in card
    trainings = json.loads((built / "trainings.json").read_text())
    assert set(trainings) == {"autoencoder", "clip", "oracle", "base"}
    assert f"| base | {trainings['base']['steps']} |" in card


def test_an_unknown_stage_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown stages vae; there are autoencoder"):
        building.build(tmp_path, stages=["vae"])


def test_a_stage_says_what_it_needs_first(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="build the stage 'autoencoder' first"):
        building.build(tmp_path, scale=TINY, stages=["base"])
