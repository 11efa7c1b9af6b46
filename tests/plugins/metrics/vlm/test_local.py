"""A tiny random LLaVA, saved with its processor, as the judge: its words are those of a greedy loop by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from dynaip.errors import DynaIPError, InputError

ANSWER = '{"reason":"seen","score":3}'
WORDS = [ANSWER, "<pad>", "<unk>", "<image>", "USER:", "A:", "Reference:", "Picture:", "one", "two", "three", "shape"]
TEMPLATE = (
    "{% for message in messages %}USER: {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image> {% else %}{{ part['text'] }} {% endif %}{% endfor %}{% endfor %}A:"
)


def save(folder: Path, *, decided: bool) -> Path:
    """``decided``: all logits are equal, so that the first word of the vocabulary, a whole answer, is what it says."""
    torch.manual_seed(0)
    text = LlamaConfig(
        vocab_size=len(WORDS), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=4096, pad_token_id=1, bos_token_id=None, eos_token_id=0,
    )  # fmt: skip
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=16, patch_size=8
    )
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=3, vision_feature_layer=-1)
    model = LlavaForConditionalGeneration(config).eval()
    if decided:
        torch.nn.init.zeros_(model.lm_head.weight)
    model.generation_config.eos_token_id = 0 if decided else None
    model.save_pretrained(folder)
    backend = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", unk_token="<unk>", additional_special_tokens=["<image>"]
    )
    pictures = CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    LlavaProcessor(
        pictures, words, patch_size=8, vision_feature_select_strategy="default", chat_template=TEMPLATE,
        image_token="<image>", num_additional_image_tokens=1,
    ).save_pretrained(folder)  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def decided(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("judge"), decided=True)


@pytest.fixture(scope="module")
def random_words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("judge"), decided=False)


def test_it_scores_and_is_kept(decided: Path, build: Any, cases: Any, images: Any) -> None:
    judge = build(where="local", model=str(decided), dtype="fp32")
    rows = judge.score(cases, images)
    assert rows == [{"cp": 0.75, "cp_answered": 1.0, "pf": 0.75, "pf_answered": 1.0}] * 4
    replayed = build(where="local", model=str(decided), dtype="fp32", replay=True)
    assert replayed.score(cases, images) == rows and replayed.judge.model is None


@torch.no_grad()
def test_its_words_are_those_of_a_loop_by_hand(random_words: Path, build: Any, cases: Any, images: Any) -> None:
    judge = build(where="local", model=str(random_words), dtype="fp32", max_tokens=6, rubrics=["cp"])
    with pytest.raises(DynaIPError, match="4 malformed"):
        judge.score(cases, images)
    model = LlavaForConditionalGeneration.from_pretrained(random_words).eval()
    processor = LlavaProcessor.from_pretrained(random_words)
    said = {answer.about["case"]: answer.raw for answer in judge.ledger.answers()}
    for case, image in zip(cases, images, strict=True):
        text = judge.rubrics[0].words(case.prompt, "dog")
        inputs = processor(
            images=[case.references[0].image, image],
            text=f"USER: Reference: <image> Picture: <image> {text} A:", return_tensors="pt",
        )  # fmt: skip
        ids = inputs["input_ids"]
        assert (ids == 3).sum() == 2 * 4, "four patches a picture"
        for _ in range(6):
            found = model(input_ids=ids, pixel_values=inputs["pixel_values"]).logits[:, -1].argmax(-1, keepdim=True)
            ids = torch.cat([ids, found], dim=1)
        words = [WORDS[index] for index in ids[0, -6:].tolist()]
        assert said[case.id].split() == [word for word in words if word not in ("<pad>", "<unk>", "<image>")]


def test_other_weights_are_another_judge(decided: Path, random_words: Path, build: Any) -> None:
    one, other = (build(where="local", model=str(each)).judge.identity for each in (decided, random_words))
    assert one["files"] != other["files"]


def test_no_judge_is_one_line(tmp_path: Path, build: Any, cases: Any, images: Any) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="cannot be loaded as a judge") as caught:
        build(where="local", model=str(tmp_path / "empty")).score(cases, images)
    assert "\n" not in str(caught.value)
