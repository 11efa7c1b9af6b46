"""Words and the tokens that they are made of, as every kind of tokenizer marks them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import nn
from transformers import PreTrainedTokenizerFast

from dynaip.adapter.words import occurrences, pieces_of, places_of, tokens_of
from dynaip.errors import InputError


def byte_level(*words: str) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer (as of Qwen) that has whole words."""
    splitter = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pieces = [piece for word in words for piece, _ in splitter.pre_tokenize_str(word)]
    backend = Tokenizer(models.WordLevel({piece: k for k, piece in enumerate(["<unk>", *pieces])}, unk_token="<unk>"))
    backend.pre_tokenizer = splitter
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")


def marked(*tokens: str) -> Any:
    return SimpleNamespace(convert_ids_to_tokens=lambda ids: [tokens[k] for k in ids])


@pytest.mark.parametrize(
    "tokens",
    [("a</w>", "cor", "gi</w>"), ("▁a", "▁cor", "gi"), ("a", "Ġcor", "gi"), ("a", "cor", "##gi")],
    ids=["CLIP", "T5", "Qwen", "BERT"],
)
def test_marks_of_tokenizers_are_taken_off(tokens: tuple[str, ...]) -> None:
    found = pieces_of(marked(*tokens), range(3))
    assert found == ["a", "cor", "##gi"]
    assert places_of("corgi", found) == [1, 2]
    for part in ("cor", "gi"):
        with pytest.raises(InputError, match=f"no '{part}' among the text tokens a cor ##gi"):
            places_of(part, found)


@pytest.mark.parametrize(
    "tokens",
    [
        ("star</w>", "-</w>", "sha", "ped</w>", ",</w>"),
        ("▁star", "-", "sha", "ped", ","),
        ("Ġstar", "-", "sha", "ped", ","),
    ],
    ids=["CLIP", "T5", "Qwen"],
)
def test_punctuation_ends_words(tokens: tuple[str, ...]) -> None:
    found = pieces_of(marked(*tokens), range(5))
    assert found == ["star", "-", "sha", "##ped", ","]
    assert places_of("star", found) == [0]
    assert places_of("shaped", found) == [2, 3]
    assert places_of("star-shaped", found) == [0, 1, 2, 3]


def test_tokenizers_without_marks_have_whole_words() -> None:
    assert pieces_of(marked("<s>", "a", "star", "fish", "</s>"), range(5)) == ["<s>", "a", "star", "fish", "</s>"]


def test_words_beyond_ascii() -> None:
    tokenizer = byte_level("ein", " schöner", " Hund", "猫")
    found = pieces_of(tokenizer, tokenizer("ein schöner Hund").input_ids)
    assert found == ["ein", "schöner", "Hund"]
    assert places_of("schöner hund", found) == [1, 2]
    assert places_of("猫", pieces_of(tokenizer, tokenizer("猫").input_ids)) == [0]


def test_words_and_phrases() -> None:
    tokens = ["a", "red", "mug", "red", "rose"]
    assert places_of("red", tokens) == [1, 3]
    assert occurrences("red", tokens) == [range(1, 2), range(3, 4)]
    assert places_of("red mug", tokens) == [1, 2]
    assert places_of("red", ["▁", "red"]) == [1], "a space that stands alone belongs to no word"
    for wrong in ("re", "mugs", ""):
        with pytest.raises(InputError, match="among the text tokens a red mug red rose"):
            places_of(wrong, tokens)


def test_an_encoder_that_hears_nothing_is_named() -> None:
    encoder = nn.Identity()
    backbone: Any = SimpleNamespace(
        text_stream=lambda pipe: (None, encoder, 0), encode_prompts=lambda pipe, prompts: {}
    )
    with pytest.raises(InputError, match="given no tokens"):
        tokens_of(backbone, None, "a corgi")
    assert not encoder._forward_pre_hooks
