"""Every folder that holds CLIP's vision tower gives the same tower; everything else is refused in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import CLIPConfig, CLIPModel, CLIPVisionModel, CLIPVisionModelWithProjection, ViTConfig, ViTModel

from dynaip.config import ComponentSpec
from dynaip.errors import InputError
from dynaip.registry import registry
from dynaip_plugins.shared.pixels import MEAN, STD


def build(folder: Any, **options: Any) -> Any:
    spec = {"use": "clip", "model": str(folder), "levels": {"low": 1, "high": 4}, **options}
    return registry().build(ComponentSpec.parse("encoder", spec))


def copied(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to


@pytest.fixture
def whole_clip(tiny_clip_folder: Path) -> CLIPModel:
    """A CLIPModel with a text half, whose vision half is that of the tiny tower."""
    tower = CLIPVisionModel.from_pretrained(tiny_clip_folder)
    text = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
        "vocab_size": 49408,
        "max_position_embeddings": 8,
    }
    torch.manual_seed(3)
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=tower.config.to_dict(), projection_dim=16))
    half = getattr(tower, "vision_model", tower)
    model.vision_model.load_state_dict(half.state_dict())
    return model


def test_a_whole_clip_gives_its_vision_half(
    tiny_clip_folder: Path, whole_clip: CLIPModel, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole_clip.save_pretrained(tmp_path / "whole")
    capfd.readouterr()
    encoder, expected = build(tmp_path / "whole"), build(tiny_clip_folder)
    assert capfd.readouterr().err == ""
    pixels = torch.randn(2, 3, 32, 32)
    for level, values in expected(pixels).items():
        assert torch.equal(encoder(pixels)[level], values)
    assert encoder.signature() | {"model": ""} == expected.signature() | {"model": ""}


def test_a_tower_with_projection(tiny_clip_folder: Path, tmp_path: Path) -> None:
    tower = CLIPVisionModelWithProjection.from_pretrained(tiny_clip_folder)
    tower.save_pretrained(tmp_path / "projected")
    pixels = torch.randn(1, 3, 32, 32)
    assert torch.equal(build(tmp_path / "projected")(pixels)["high"], build(tiny_clip_folder)(pixels)["high"])


def test_weights_stored_in_half_run_in_the_wanted_precision(tiny_clip_folder: Path, tmp_path: Path) -> None:
    CLIPVisionModel.from_pretrained(tiny_clip_folder).half().save_pretrained(tmp_path / "half")
    assert build(tmp_path / "half").embeddings.class_embedding.dtype == torch.float32
    assert build(tmp_path / "half", dtype="bf16").embeddings.class_embedding.dtype == torch.bfloat16
    pixels = torch.randn(1, 3, 32, 32)
    found, expected = build(tmp_path / "half")(pixels)["high"], build(tiny_clip_folder)(pixels)["high"]
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0.01)


def test_the_signature_tells_two_towers_of_one_shape_apart(tiny_clip_folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(99)
    CLIPVisionModel(CLIPVisionModel.from_pretrained(tiny_clip_folder).config).save_pretrained(tmp_path / "other")
    one, other = build(tiny_clip_folder).signature(), build(tmp_path / "other").signature()
    assert one == build(tiny_clip_folder).signature()
    assert {key for key in one if one[key] != other[key]} == {"model", "weights"}


def test_another_architecture_is_refused_rather_than_filled_with_chance(tmp_path: Path) -> None:
    shape = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    ViTModel(ViTConfig(**shape, image_size=32, patch_size=8)).save_pretrained(tmp_path / "vit")
    with pytest.raises(InputError, match=r"encoder.model: .*CLIP vision model"):
        build(tmp_path / "vit", levels={"low": 1})


def truncate(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


FAULTS: dict[str, Any] = {
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "truncated weights": truncate,
    "zeroed weights": lambda folder: (folder / "model.safetensors").write_bytes(bytes(5000)),
    "no config": lambda folder: (folder / "config.json").unlink(),
    "broken config": lambda folder: (folder / "config.json").write_text("{"),
    "pickle alone": lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"),
    "broken preprocessor": lambda folder: (folder / "preprocessor_config.json").write_text("{"),
    "no deviation": lambda folder: (folder / "preprocessor_config.json").write_text('{"image_std": [1, 0, 1]}'),
    "two means": lambda folder: (folder / "preprocessor_config.json").write_text('{"image_mean": [1, 0]}'),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_damaged_folders_are_one_line(fault: str, tiny_clip_folder: Path, tmp_path: Path) -> None:
    folder = copied(tiny_clip_folder, tmp_path / "damaged")
    FAULTS[fault](folder)
    with pytest.raises(InputError, match=r"encoder.model: .*damaged") as caught:
        build(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "mean", "std"),
    [
        (None, MEAN, STD),
        ({"image_mean": [0.5, 0.25, 0.0], "image_std": [0.5, 1.0, 2.0]}, (0.5, 0.25, 0.0), (0.5, 1.0, 2.0)),
        ({"image_mean": None}, MEAN, STD),
        ({"do_normalize": False, "image_mean": [9, 9, 9]}, (0, 0, 0), (1, 1, 1)),
    ],
)
def test_pixels_are_normalised_as_the_folder_says(
    settings: dict[str, Any] | None, mean: Any, std: Any, tiny_clip_folder: Path, tmp_path: Path
) -> None:
    folder = copied(tiny_clip_folder, tmp_path / "clip")
    if settings is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    pixels = build(folder).preprocess([Image.new("RGB", (32, 32), (51, 102, 255))])
    expected = [(value - m) / s for value, m, s in zip((0.2, 0.4, 1.0), mean, std, strict=True)]
    assert pixels[0, :, 5, 7].tolist() == pytest.approx(expected, abs=1e-5)
    assert pixels.shape == (1, 3, 32, 32)
