"""Every family of vision towers against a loop by hand, from disk; pixels against transformers' own processors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    AutoConfig,
    BitImageProcessor,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPVisionConfig,
    Dinov2Config,
    DINOv3ViTConfig,
    RadioConfig,
    Siglip2Config,
    Siglip2Model,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
    SiglipVisionConfig,
    ViTImageProcessor,
)
from transformers.models.siglip2.image_processing_pil_siglip2 import Siglip2ImageProcessorPil

from dynaip.config import ComponentSpec
from dynaip.errors import ConfigError, InputError
from dynaip.promises import check_levels, check_pixels
from dynaip.registry import registry
from dynaip_plugins.shared.towers import FAMILIES, Tower, layers_of, load_tower
from tests.tiny_towers import KINDS, save


@pytest.fixture(scope="module", params=KINDS)
def tower(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    return request.param, save(request.param, folder), folder


def build(folder: Any, **options: Any) -> Any:
    return registry().build(ComponentSpec.parse("encoder", {"use": "vit", "model": str(folder), **options}))


def pictures() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 255, size, dtype=np.uint8)) for size in ((40, 40, 3), (40, 71, 3))]


def test_levels_are_the_states_of_a_loop_by_hand(tower: tuple[str, Any, Path]) -> None:
    name, model, folder = tower
    encoder = build(folder, levels={"zero": 0, "low": 0.34, "mid": 2, "high": 1.0})
    assert dict(encoder.levels) == {"zero": 0, "low": 1, "mid": 2, "high": 3}
    pixels = encoder.preprocess(pictures())
    check_pixels(name, pixels, 2)
    found, expected = encoder(pixels), KINDS[name].by_hand(model, pixels)
    check_levels(name, encoder, found, 2)
    for level, number in encoder.levels.items():
        torch.testing.assert_close(found[level], expected[number], atol=1e-5, rtol=1e-5)
    assert encoder.grid == (4, 4) and found["high"].shape == (2, 16, 24)
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_other_sizes_interpolate_positions(tower: tuple[str, Any, Path]) -> None:
    """Places that a picture of one colour has in common stay alike; a size between patches is refused."""
    name, model, folder = tower
    encoder = build(folder, levels={"high": 3}, size=48)
    pixels = encoder.preprocess(pictures())
    assert pixels.shape == (2, 3, 48, 48) and encoder.grid == (6, 6)
    found = encoder(pixels)["high"]
    assert found.shape == (2, 36, 24)
    if name in (
        "dinov2",
        "dinov2_registers",
        "dinov3",
        "radio",
        "naflex",
    ):  # their embeddings take any size by themselves
        torch.testing.assert_close(found, KINDS[name].by_hand(model, pixels)[3], atol=1e-5, rtol=1e-5)
    else:
        with torch.no_grad():
            hidden = model.embeddings(pixels, interpolate_pos_encoding=True)
            state = KINDS[name].start(_Given(model, hidden), pixels)
            for layer in layers_of(model):
                out = layer(state, **KINDS[name].extra(model, pixels))
                state = out[0] if isinstance(out, tuple) else out
        torch.testing.assert_close(found, state[:, KINDS[name].prefix :], atol=1e-5, rtol=1e-5)
    with pytest.raises(ConfigError, match=r"encoder.size: 50 is no multiple of the patches of 8: write 48"):
        build(folder, size=50)


class _Given:
    """A model whose embeddings are there already."""

    def __init__(self, model: Any, hidden: torch.Tensor) -> None:
        self._model, self.embeddings = model, lambda pixels: hidden

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def test_a_batch_is_its_pictures_one_by_one_and_layers_behind_are_dropped(tower: tuple[str, Any, Path]) -> None:
    encoder = build(tower[2], levels={"low": 1, "mid": 2})
    assert len(encoder.tower.layers) == 2
    together = encoder(encoder.preprocess(pictures()))
    for row, picture in enumerate(pictures()):
        alone = encoder(encoder.preprocess([picture]))
        for level, values in together.items():
            torch.testing.assert_close(alone[level][0], values[row], atol=1e-5, rtol=1e-5)


def test_the_signature_tells_weights_levels_and_sizes_apart(tmp_path: Path) -> None:
    for seed in (1, 2):
        save("dinov2", tmp_path / str(seed), seed)
    one = build(tmp_path / "1").signature()
    assert one == build(tmp_path / "1").signature()
    other = build(tmp_path / "2").signature()
    assert {key for key in one if one[key] != other[key]} == {"model", "weights"}
    changed = build(tmp_path / "1", size=48, levels={"high": 3}).signature()
    assert {key for key in one if one[key] != changed[key]} == {"image_size", "levels"}
    json.dumps(one)


PROCESSORS: list[tuple[Any, dict[str, Any]]] = [
    (CLIPImageProcessor, {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}),
    (BitImageProcessor, {"size": {"shortest_edge": 37}, "crop_size": {"height": 32, "width": 32}}),
    (SiglipImageProcessor, {"size": {"height": 32, "width": 32}}),
    (ViTImageProcessor, {"size": {"height": 32, "width": 32}}),
]


@pytest.mark.parametrize(("processor", "options"), PROCESSORS, ids=lambda each: getattr(each, "__name__", ""))
def test_pixels_are_those_of_the_models_own_processor(processor: Any, options: Any, tmp_path: Path) -> None:
    save("dinov2", tmp_path)
    own = processor(**options, image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.3, 0.4])
    own.save_pretrained(tmp_path)
    encoder = build(tmp_path)
    for picture in [*pictures(), Image.new("RGB", (90, 33), (200, 30, 90))]:
        expected = torch.as_tensor(np.asarray(own(picture, return_tensors="np")["pixel_values"]))
        torch.testing.assert_close(encoder.preprocess([picture]), expected, atol=1e-5, rtol=1e-5)
    assert encoder.fit == ("crop" if "crop_size" in options else None)


def test_old_files_name_sizes_by_a_number(tmp_path: Path) -> None:
    save("dinov2", tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"size": 36, "image_mean": []}))
    with pytest.raises(InputError, match=r"names no image_mean"):  # three zeros are a mean; an empty list is none
        build(tmp_path)
    settings = {"size": 36, "crop_size": 32, "do_center_crop": True, "image_mean": [0] * 3, "image_std": [1] * 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    assert build(tmp_path).tower.preprocessing.shorter_edge == 36
    assert build(tmp_path, size=64).tower.preprocessing.shorter_edge == 72
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings | {"do_center_crop": False}))
    assert build(tmp_path).tower.preprocessing.shorter_edge is None


def test_a_whole_clip_and_a_whole_siglip_give_their_vision_half(tmp_path: Path) -> None:
    text = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
        "vocab_size": 99,
    }
    for name, kind, config in (("clip", CLIPModel, CLIPConfig), ("siglip", SiglipModel, SiglipConfig)):
        tower = save(name, tmp_path / name)
        whole = kind(config(text_config=text, vision_config=tower.config.to_dict())).eval()
        half = getattr(whole.vision_model, "vision_model", whole.vision_model)
        half.load_state_dict(getattr(tower, "vision_model", tower).state_dict())
        whole.save_pretrained(tmp_path / f"whole-{name}")
        settings = (tmp_path / name / "preprocessor_config.json").read_text()
        (tmp_path / f"whole-{name}" / "preprocessor_config.json").write_text(settings)
        one, other = build(tmp_path / name), build(tmp_path / f"whole-{name}")
        pixels = one.preprocess(pictures())
        assert torch.equal(one(pixels)["high"], other(pixels)["high"])
        assert one.signature() | {"model": ""} == other.signature() | {"model": ""}


FAULTS: dict[str, tuple[Any, str]] = {
    "no preprocessor": (lambda folder: (folder / "preprocessor_config.json").unlink(), "brings no preprocessor_config"),
    "no config": (lambda folder: (folder / "config.json").unlink(), "no config.json"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "cannot be loaded"),
    "zeroed weights": (lambda folder: (folder / "model.safetensors").write_bytes(bytes(999)), "cannot be loaded"),
    "list": (lambda folder: (folder / "preprocessor_config.json").write_text("[]"), "no keys and values"),
    "two means": (
        lambda folder: (folder / "preprocessor_config.json").write_text('{"image_mean": [1, 0], "image_std": [1, 1]}'),
        "three numbers",
    ),
    "another family": (
        lambda folder: (folder / "config.json").write_text('{"model_type": "bert"}'),
        "it is a bert, and",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_damaged_folders_are_one_line(fault: str, tmp_path: Path) -> None:
    save("dinov2", tmp_path / "damaged")
    spoil, line = FAULTS[fault]
    spoil(tmp_path / "damaged")
    with pytest.raises(InputError, match=rf"encoder.model: .*damaged.*{line}") as caught:
        build(tmp_path / "damaged")
    assert "\n" not in str(caught.value)


def test_bad_levels_are_one_line(tmp_path: Path) -> None:
    save("siglip", tmp_path)
    for given, line in ((4, "layer 4 is not within 0 and 3"), (1.5, "1.5 is a share of the depth"), (-1, "layer -1")):
        with pytest.raises(ConfigError, match=rf"encoder.levels.high: {line}"):
            build(tmp_path, levels={"high": given})


TRUE: dict[str, tuple[Any, dict[str, Any], int, int]] = {
    "openai/clip-vit-large-patch14-336": (
        CLIPVisionConfig, {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "image_size": 336,
                               "patch_size": 14,
                               "intermediate_size": 4096}, 24, 24),
    "google/siglip2-so400m-patch14-384": (
        SiglipVisionConfig, {"hidden_size": 1152, "num_hidden_layers": 27, "num_attention_heads": 16, "image_size": 384,
                                 "patch_size": 14, "intermediate_size": 4304}, 27, 27),
    "facebook/dinov2-giant": (
        Dinov2Config, {"hidden_size": 1536, "num_hidden_layers": 40, "num_attention_heads": 24, "image_size": 518,
                           "patch_size": 14,
                           "use_swiglu_ffn": True}, 40, 37),
    "facebook/dinov3-vitl16": (
        DINOv3ViTConfig, {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "image_size": 224,
                              "patch_size": 16,
                              "num_register_tokens": 4, "intermediate_size": 4096}, 24, 14),
    "nvidia/C-RADIOv4-H": (RadioConfig, {"image_size": 256}, 32, 16),
}  # fmt: skip


@pytest.mark.parametrize("name", TRUE)
def test_true_sizes_on_meta(name: str) -> None:
    from transformers import AutoModel

    from dynaip_plugins.shared.preprocessing import inside_the_model

    kind, shape, depth, edge = TRUE[name]
    config = kind(**shape)
    with torch.device("meta"):
        model = AutoModel.from_config(config)
        family = FAMILIES[config.model_type]
        tower = Tower(model, family, inside_the_model(config.image_size), name)
        assert (tower.depth, tower.edge) == (depth, edge)
        states = tower.states(torch.empty(1, 3, config.image_size, config.image_size), {0, depth // 2, depth})
    assert {tuple(state.shape) for state in states.values()} == {(1, edge * edge, config.hidden_size)}
    assert AutoConfig.for_model(config.model_type) is not None


def test_a_square_picture_is_seen_by_a_naflex_as_its_own_processor_shows_it(tmp_path: Path) -> None:
    """Whole models give their vision half; a picture that is not square gives its middle, and nothing of it is squeezed."""
    own = Siglip2ImageProcessorPil(patch_size=8, max_num_patches=16)
    torch.manual_seed(0)
    vision = KINDS["naflex"].make().config.to_dict()
    text = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 9, "projection_size": 24}
    whole = Siglip2Model(Siglip2Config(vision_config=vision, text_config=text)).eval()
    whole.save_pretrained(tmp_path)
    own.save_pretrained(tmp_path)
    square, wide = pictures()[0], Image.linear_gradient("L").rotate(90).resize((80, 40)).convert("RGB")
    tower = load_tower(str(tmp_path), whole=True)
    given = {name: torch.as_tensor(np.asarray(value)) for name, value in own(square, return_tensors="np").items()}
    with torch.no_grad():
        expected = whole.vision_model(**given).pooler_output
    torch.testing.assert_close(tower.pooled(tower.preprocessing.pixels([square])), expected, atol=1e-5, rtol=1e-5)
    encoder = build(tmp_path)
    assert encoder.fit == "crop" and encoder.grid == (4, 4) and not hasattr(encoder.tower.model, "head")
    middle, squeezed = encoder.preprocess([wide.crop((20, 0, 60, 40)), wide.resize((40, 40))])
    assert (encoder.preprocess([wide]) - middle).abs().max() < 0.05 < 0.3 < (middle - squeezed).abs().max()
