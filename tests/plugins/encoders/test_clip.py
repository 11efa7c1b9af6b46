"""The CLIP encoder against transformers' own forward pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPVisionModel

from dynaip.config import ComponentSpec
from dynaip.errors import ConfigError, InputError
from dynaip.registry import registry


def build(folder: Any, **options: Any) -> Any:
    return registry().build(ComponentSpec.parse("encoder", {"use": "clip", "model": str(folder), **options}))


def pictures() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 255, size, dtype=np.uint8)) for size in ((32, 32, 3), (40, 64, 3))]


@pytest.mark.parametrize("class_token", [False, True])
def test_levels_are_the_models_hidden_states(tiny_clip_folder: Path, class_token: bool) -> None:
    encoder = build(tiny_clip_folder, levels={"zero": 0, "low": 1, "high": 4}, class_token=class_token)
    pixels = encoder.preprocess(pictures())
    assert pixels.shape == (2, 3, 32, 32)
    found = encoder(pixels)
    whole = CLIPVisionModel.from_pretrained(tiny_clip_folder).eval()
    with torch.no_grad():
        states = whole(pixels, output_hidden_states=True).hidden_states
    for level, number in {"zero": 0, "low": 1, "high": 4}.items():
        expected = states[number] if class_token else states[number][:, 1:]
        torch.testing.assert_close(found[level], expected, atol=1e-6, rtol=1e-5)
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_only_needed_layers_are_kept(tiny_clip_folder: Path) -> None:
    assert len(build(tiny_clip_folder, levels={"low": 2}).layers) == 2


def test_default_levels_keep_the_relative_depth(tiny_clip_folder: Path) -> None:
    assert build(tiny_clip_folder).levels == {"low": 2, "mid": 3, "high": 4}


def test_fit(tiny_clip_folder: Path) -> None:
    """Crop keeps the middle, pad keeps everything with white beside it."""
    wide = Image.new("RGB", (64, 32), "black")
    cropped = build(tiny_clip_folder).preprocess([wide])
    padded = build(tiny_clip_folder, fit="pad").preprocess([wide])
    assert float(cropped.max()) < 0
    assert float(padded[0, :, 0].min()) > 1
    assert float(padded[0, :, 16].max()) < 0


def test_a_batch_is_its_pictures_one_by_one(tiny_clip_folder: Path) -> None:
    encoder = build(tiny_clip_folder)
    together = encoder(encoder.preprocess(pictures()))
    for row, picture in enumerate(pictures()):
        alone = encoder(encoder.preprocess([picture]))
        for level, values in together.items():
            torch.testing.assert_close(alone[level][0], values[row], atol=1e-5, rtol=1e-5)


def test_bad_levels_and_models_are_one_line(tiny_clip_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"levels.high: layer 24 is not within 0 and 4"):
        build(tiny_clip_folder, levels={"high": 24})
    with pytest.raises(ConfigError, match=r"levels.low: layer -1 is not within 0 and 4"):
        build(tiny_clip_folder, levels={"low": -1})
    with pytest.raises(InputError, match="cannot be loaded as a CLIP vision model"):
        build(tmp_path)
    line = r"microwrld: no such folder, no bundle \(microworld\) and no hub id. Did you mean microworld"
    with pytest.raises(InputError, match=line):
        build("microwrld")
