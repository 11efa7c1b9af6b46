"""CLIP-I and CLIP-T against transformers' own processor and model, on a tiny random CLIP."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, PreTrainedTokenizerFast

from dynaip.adapter.reference import Reference
from dynaip.config import ComponentSpec
from dynaip.contracts import Case
from dynaip.errors import InputError
from dynaip.notes import Note
from dynaip.registry import registry

WORDS = ["<pad>", "<unk>", "<end>", "a", "red", "dog", "on", "sand"]


def whole_clip() -> CLIPModel:
    torch.manual_seed(0)
    shared = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2}
    text = {**shared, "vocab_size": len(WORDS), "max_position_embeddings": 12, "eos_token_id": 2, "pad_token_id": 0}
    vision = {**shared, "image_size": 32, "patch_size": 8}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)).eval()


def tokenizer() -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", unk_token="<unk>", eos_token="<end>")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip")
    whole_clip().save_pretrained(path)
    tokenizer().save_pretrained(path)
    CLIPImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, image_mean=[0.3] * 3, image_std=[0.7] * 3
    ).save_pretrained(path)
    return path


def build(model: Path | str) -> Any:
    return registry().build(ComponentSpec.parse("metric", {"use": "clip", "model": str(model)}))


def picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (32, 32, 3), dtype=np.uint8))


def case(name: str, prompt: str, *references: Image.Image) -> Case:
    return Case(id=name, suite="s", prompt=prompt, references=tuple(Reference(one) for one in references), seed=0)


@torch.no_grad()
def test_equals_transformers(folder: Path) -> None:
    cases = [case("1", "a red dog", picture(1)), case("2", "a dog on sand", picture(2), picture(3)), case("3", "sand")]
    images = [picture(10), picture(11), picture(12)]
    scores = build(folder).score(cases, images)

    model, processor, words = whole_clip(), CLIPImageProcessor.from_pretrained(folder), tokenizer()

    def seen(image: Image.Image) -> torch.Tensor:
        pixels = processor(image, return_tensors="pt").pixel_values
        return model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output)[0]

    def said(prompt: str) -> torch.Tensor:
        ids = words(prompt, padding="max_length", max_length=12, return_tensors="pt")
        out = model.text_model(input_ids=ids.input_ids, attention_mask=ids.attention_mask)
        return model.text_projection(out.pooler_output)[0]

    def cosine(one: torch.Tensor, other: torch.Tensor) -> float:
        return 100 * float(one @ other / one.norm() / other.norm())

    for one, image, found in zip(cases, images, scores, strict=True):
        assert found["clip_t"] == pytest.approx(cosine(seen(image), said(one.prompt)), abs=1e-3)
        truth = [cosine(seen(image), seen(reference.image)) for reference in one.references]
        assert found["clip_i"] == pytest.approx(np.mean(truth) if truth else np.nan, abs=1e-3, nan_ok=True)


def test_a_prompt_that_is_cut_is_told(folder: Path) -> None:
    long = " ".join(["dog"] * 15)
    cases = [case("1", long, picture(1)), case("2", "a red dog"), case("3", long + " sand")]
    with pytest.warns(
        Note, match=r"reads 12 of 16 tokens of the longest prompt, and 2 of 3 prompts are longer"
    ) as told:
        scores = build(folder).score(cases, [picture(10)] * 3)
    assert len([one for one in told if one.category is Note]) == 1
    assert scores[0]["clip_t"] == pytest.approx(scores[2]["clip_t"], abs=1e-3)
    assert abs(scores[0]["clip_t"] - scores[1]["clip_t"]) > 0.01


def test_a_vision_tower_alone_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "half")
    whole_clip().vision_model.save_pretrained(tmp_path / "half")
    with pytest.raises(InputError, match="CLIP") as caught:
        build(tmp_path / "half")
    assert "\n" not in str(caught.value)


def test_a_missing_model_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="clip") as caught:
        build(tmp_path)
    assert "\n" not in str(caught.value)


def test_references_and_prompts_are_embedded_once_for_all_arms(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second arm's pictures are looked at, its references and prompts are not; the scores are those of a fresh metric."""
    cases = [case("1", "a red dog", picture(1)), case("2", "a dog on sand", picture(2), picture(3))]
    first, second = [picture(10), picture(11)], [picture(12), picture(13)]
    metric, fresh = build(folder), build(folder)
    metric.score(cases, first)
    looked: list[int] = []
    real = metric.model.get_image_features
    monkeypatch.setattr(
        metric.model, "get_image_features", lambda **given: looked.append(len(given["pixel_values"])) or real(**given)
    )
    monkeypatch.setattr(metric.model, "get_text_features", lambda **given: pytest.fail("the prompts were read already"))
    assert metric.score(cases, second) == fresh.score(cases, second)
    assert looked == [2]
