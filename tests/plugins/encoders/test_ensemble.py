"""Levels of several towers against each tower by hand, on one grid; mistakes in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dynaip.config import ComponentSpec
from dynaip.errors import InputError
from dynaip.promises import check_levels, check_pixels
from dynaip.registry import registry
from tests.tiny_towers import KINDS, save

HALF, IMAGENET = ([0.5] * 3, [0.5] * 3), ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Path]]:
    places = {name: tmp_path_factory.mktemp(name) for name in ("siglip", "dinov2")}
    return {name: save(name, folder) for name, folder in places.items()}, places


def build(places: dict[str, Path], **options: Any) -> Any:
    towers = {name: str(folder) for name, folder in places.items()}
    spec = {
        "use": "ensemble",
        "levels": {"low": "dinov2@0.34", "mid": "siglip@2", "high": "siglip@1.0"},
        "towers": towers,
    }
    return registry().build(ComponentSpec.parse("encoder", spec | options))


def pictures() -> list[Image.Image]:
    rng = np.random.default_rng(3)
    return [Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)) for _ in range(2)]


def scaled(mean: list[float], std: list[float]) -> torch.Tensor:
    values = np.stack([np.asarray(each) for each in pictures()]) / 255
    return torch.tensor((values - mean) / std).permute(0, 3, 1, 2).float()


def test_levels_are_those_of_each_tower(folders: Any) -> None:
    models, places = folders
    encoder = build(places)
    pixels = encoder.preprocess(pictures())
    check_pixels("ensemble", pixels, 2)
    found = encoder(pixels)
    check_levels("ensemble", encoder, found, 2)
    assert list(found) == ["low", "mid", "high"] and dict(encoder.levels) == {"low": 1, "mid": 2, "high": 3}
    dino = KINDS["dinov2"].by_hand(models["dinov2"], scaled(*IMAGENET))
    siglip = KINDS["siglip"].by_hand(models["siglip"], scaled(*HALF))
    for level, expected in (("low", dino[1]), ("mid", siglip[2]), ("high", siglip[3])):
        torch.testing.assert_close(found[level], expected, atol=1e-4, rtol=1e-4)
    json.dumps(encoder.signature())


def test_grids_are_matched_by_resampling(folders: Any) -> None:
    """A tower of 6 x 6 patches and one of 4 x 4 meet on the finer grid; a map of constant tokens stays what it is."""
    _, places = folders
    towers = {"dinov2": {"model": str(places["dinov2"]), "size": 48}, "siglip": str(places["siglip"])}
    encoder = build(places, towers=towers)
    assert encoder.grid == (6, 6) and encoder.preprocess(pictures()).shape[-1] == 48
    found = encoder(encoder.preprocess(pictures()))
    assert {values.shape[1] for values in found.values()} == {36}
    coarse = build(places, towers=towers, grid=3)
    assert {values.shape[1] for values in coarse(coarse.preprocess(pictures())).values()} == {9}
    from dynaip_plugins.encoders.ensemble.model import on_grid

    rows = torch.arange(4.0).repeat_interleave(4)[None, :, None]  # each token holds its row
    finer = on_grid(rows, 4, 8).view(8, 8)
    assert torch.equal(finer, finer[:, :1].expand(8, 8)) and finer[:, 0].diff().ge(0).all()
    assert finer[3:5, 0].tolist() == pytest.approx([1.25, 1.75])
    assert on_grid(torch.full((1, 16, 2), 7.0), 4, 3).unique().tolist() == pytest.approx([7.0])


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"levels": {"low": "dino2@0.4"}}, r"levels.low: there is no tower dino2.*Did you mean dinov2"),
        ({"levels": {"low": "dinov2"}}, r"levels.low: write tower@layer"),
        ({"levels": {"low": "dinov2@0.4"}}, r"towers.siglip: no level reads it"),
        ({"levels": {"low": "dinov2@9", "high": "siglip@1"}}, r"encoder.levels.low: layer 9 is not within 0 and 3"),
    ],
)
def test_mistakes_are_one_line(folders: Any, options: Any, line: str) -> None:
    with pytest.raises(InputError, match=line) as caught:
        build(folders[1], **options)
    assert "\n" not in str(caught.value)


def test_a_missing_model_names_its_tower(folders: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"encoder.towers.siglip.model: .*cannot be loaded"):
        build(folders[1], towers={"siglip": str(tmp_path), "dinov2": str(folders[1]["dinov2"])})
