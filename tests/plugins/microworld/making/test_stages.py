"""The build at a tiny scale: complete, resumable, repeatable."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dynaip.errors import InputError
from dynaip_plugins.microworld.making import stages as building
from dynaip_plugins.microworld.making.stages import Order

TINY = 0.0001


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {
        f"{file.relative_to(folder)}:{name}": value
        for file in sorted(folder.rglob("*.safetensors"))
        for name, value in load_file(file).items()
    }


@pytest.fixture(scope="module", autouse=True)
def small_batches() -> Iterator[None]:
    """Batches of four, so that a step of each training is a fraction of a second."""
    sizes = {
        name: tuple(replace(size, schedule=replace(size.schedule, batch_size=4)) for size in both)
        for name, both in building.SIZES.items()
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(building, "SIZES", sizes)
        yield


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("world")
    ran = building.build(Order(out, scale=TINY), stages=["autoencoder", "clip", "base", "oracle"])
    assert ran == ["autoencoder", "clip", "base", "oracle"]
    return out


def test_build_leaves_every_part(built: Path) -> None:
    assert (built / "pipeline" / "model_index.json").exists()
    assert (built / "vision" / "preprocessor_config.json").exists()
    assert (built / "oracle" / "oracle.safetensors").exists()
    assert all(value.dtype in (torch.float16, torch.int64) for name, value in weights(built / "pipeline").items())
    written = [path for part in ("pipeline", "vision", "oracle") for path in (built / part).rglob("*.*")]
    assert len({path.stat().st_mode for path in written}) == 1, "other users can read a part of the world alone"


def test_complete_stages_are_skipped(built: Path) -> None:
    assert building.build(Order(built, scale=TINY), stages=["autoencoder", "oracle"]) == []


def test_the_same_seed_gives_the_same_weights(built: Path, tmp_path: Path) -> None:
    building.build(Order(tmp_path, scale=TINY), stages=["clip"])
    first, second = weights(built / "vision"), weights(tmp_path / "vision")
    assert first and all(torch.equal(first[name], second[name]) for name in first)


def test_measure_writes_figures_and_card(built: Path) -> None:
    assert building.build(Order(built, scale=TINY), stages=["measure"]) == ["measure"]
    figures = json.loads((built / "figures.json").read_text())
    assert 0 <= figures["base_2_plain"]["pf"] <= 1
    assert figures["readers"]["autoencoder_psnr"] > 0
    card = (built / "MODEL_CARD.md").read_text()
    assert f"| 2 plain | {figures['base_2_plain']['pf']} | {figures['base_2_plain']['category']} |" in card
    trainings = json.loads((built / "trainings.json").read_text())
    assert set(trainings) == {"autoencoder", "clip", "oracle", "base"}
    assert f"| base | {trainings['base']['steps']} |" in card


def test_an_unknown_stage_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown stage vae; there are autoencoder"):
        building.build(Order(tmp_path), stages=["vae"])


def test_a_stage_says_what_it_needs_first(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="build the stage 'autoencoder' first"):
        building.build(Order(tmp_path, scale=TINY), stages=["base"])


def test_a_build_goes_on_from_another_one(built: Path, tmp_path: Path) -> None:
    """The decoder changes and the encoder does not, so that latents mean the same; the base begins with the weights given."""
    order = Order(tmp_path, scale=TINY, start=built)
    assert building.build(order, stages=["autoencoder", "base"]) == ["autoencoder", "base"]
    before, after = weights(built / "pipeline"), weights(tmp_path / "pipeline")
    vae = {name: torch.equal(before[name], after[name]) for name in before if name.startswith("vae")}
    assert all(same for name, same in vae.items() if "encoder." in name)
    assert not any(same for name, same in vae.items() if "decoder.conv_in" in name)
    config = [json.loads((folder / "pipeline" / "vae" / "config.json").read_text()) for folder in (built, tmp_path)]
    assert config[0]["scaling_factor"] == config[1]["scaling_factor"]
    moved = [
        (before[name].float() - after[name].float()).abs().max() for name in before if name.startswith("transformer")
    ]
    assert 0 < max(moved) < 0.02


def test_a_build_says_what_it_cannot_start_from(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder pipeline to start from"):
        building.build(Order(tmp_path / "new", start=tmp_path), stages=["base"])
