"""Encoders of embeddings against transformers' own models and image processors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dynaip.config import ComponentSpec
from dynaip.errors import InputError
from dynaip.registry import registry


def build(name: str, folder: Path) -> Any:
    return registry().build(ComponentSpec.parse("encoder", {"use": name, "model": str(folder)}))


def pictures() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 255, size, dtype=np.uint8)) for size in ((20, 33, 3), (64, 40, 3))]


def test_clip_gives_image_embeds(tmp_path: Path) -> None:
    """Of a whole CLIP whose projection is wider than its vision part says, too."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = small | {"image_size": 16, "patch_size": 8}
    text = small | {"vocab_size": 20, "max_position_embeddings": 8}
    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig(vision_config=vision, text_config=text, projection_dim=12)).eval()
    model.save_pretrained(tmp_path)
    encoder = build("clip_embedding", tmp_path)
    pixels = encoder.preprocess(pictures())
    own = CLIPImageProcessor(size=16, crop_size=16)(pictures(), return_tensors="pt").pixel_values
    assert torch.equal(pixels, own)
    with torch.no_grad():
        expected = model.visual_projection(model.vision_model(own).pooler_output)
    torch.testing.assert_close(encoder(pixels)["embedding"], expected[:, None])
    assert encoder.widths == {"embedding": 12}
    assert encoder.grid == (1, 1)


def test_siglip_gives_pooler_output(tmp_path: Path) -> None:
    from transformers import SiglipImageProcessor, SiglipVisionConfig, SiglipVisionModel

    torch.manual_seed(0)
    shape = SiglipVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=16, patch_size=8
    )
    model = SiglipVisionModel(shape).eval()
    model.save_pretrained(tmp_path)
    processor = SiglipImageProcessor(size={"height": 16, "width": 16}, image_mean=[0.1] * 3)
    processor.save_pretrained(tmp_path)
    encoder = build("siglip_embedding", tmp_path)
    pixels = encoder.preprocess(pictures())
    own = processor(pictures(), return_tensors="pt").pixel_values
    assert torch.equal(pixels, own)
    with torch.no_grad():
        torch.testing.assert_close(encoder(pixels)["embedding"], model(own).pooler_output[:, None])


def test_signature_tells_weights_apart(tmp_path: Path) -> None:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    shape = CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=16, patch_size=8,
        projection_dim=6,
    )  # fmt: skip
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        CLIPVisionModelWithProjection(shape).save_pretrained(tmp_path)
        found.append(build("clip_embedding", tmp_path).signature())
    assert found[0]["weights"] != found[1]["weights"]
    assert found[0] | {"weights": 0} == found[1] | {"weights": 0}


def test_a_tower_without_projection_is_refused(tiny_clip_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"it has no weights visual_projection\.weight"):
        build("clip_embedding", tiny_clip_folder)
    for name in ("clip_embedding", "siglip_embedding"):
        with pytest.raises(InputError, match="cannot be loaded") as caught:
            build(name, tmp_path)
        assert "\n" not in str(caught.value)
