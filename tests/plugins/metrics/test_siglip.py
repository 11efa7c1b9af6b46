"""SigLIP-I and SigLIP-T against transformers' own model, on a tiny random SigLIP with a tokenizer of words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

from dynaip.config import ComponentSpec
from dynaip.contracts import Case, CaseReference
from dynaip.errors import InputError
from dynaip.registry import registry
from tests.plugins.metrics.test_clip import WORDS, tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("siglip")
    torch.manual_seed(0)
    shared = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2}
    text = {**shared, "vocab_size": len(WORDS), "max_position_embeddings": 12, "projection_size": 16}
    model = SiglipModel(SiglipConfig(text_config=text, vision_config={**shared, "image_size": 32, "patch_size": 8}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    model.save_pretrained(path)
    tokenizer().save_pretrained(path)
    SiglipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(path)
    return path


def build(model: Path, **options: Any) -> Any:
    return registry().build(ComponentSpec.parse("metric", {"use": "siglip", "model": str(model), **options}))


def picture(seed: int, size: tuple[int, int] = (32, 32)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8))


@torch.no_grad()
def test_equals_transformers(folder: Path) -> None:
    cases = [
        Case("1", "s", "a red dog", (CaseReference(picture(1, (40, 60))),), 0),
        Case("2", "s", "a dog on sand", (CaseReference(picture(2)), CaseReference(picture(3))), 0),
    ]
    images = [picture(10), picture(11, (50, 33))]
    model, processor = SiglipModel.from_pretrained(folder).eval(), SiglipImageProcessor.from_pretrained(folder)

    def seen(image: Image.Image) -> Any:
        return model.vision_model(torch.tensor(np.asarray(processor(image).pixel_values))).pooler_output[0]

    def said(prompt: str) -> Any:
        ids = tokenizer()(prompt, padding="max_length", max_length=12, return_tensors="pt").input_ids
        return model.text_model(ids).pooler_output[0]

    def cosine(one: Any, other: Any) -> float:
        return 100 * float(one @ other / one.norm() / other.norm())

    for size in (1, 64):
        for one, image, row in zip(cases, images, build(folder, batch_size=size).score(cases, images), strict=True):
            truth = np.mean([cosine(seen(image), seen(each.image)) for each in one.references])
            assert row["siglip_i"] == pytest.approx(truth, abs=2e-3)
            assert row["siglip_t"] == pytest.approx(cosine(seen(image), said(one.prompt)), abs=2e-3)
    about = build(folder).about()
    assert about["tokens"] == 12 and about["preprocessing"]["size"] == 32 and len(about["weights"]) == 12


def test_a_missing_model_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"metric siglip: .*SiglipModel") as caught:
        build(tmp_path)
    assert "\n" not in str(caught.value)
