"""Text tokens as the text stream of each family holds them: the right tokenizer, template and padding."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dynaip.errors import InputError
from dynaip_analysis.words import places_of, tokens_of


class Tokenizer:
    """Cuts words into pieces of three letters, marked as its kind marks them."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.pieces: list[str] = []

    def __call__(self, text: str, padding: Any = False, truncation: bool = False) -> Any:
        found: list[str] = []
        for word in text.split():
            parts = [word[k : k + 3] for k in range(0, len(word), 3)]
            if self.kind == "clip":
                found += [*parts[:-1], f"{parts[-1]}</w>"]
            else:
                mark = {"t5": "▁", "qwen": "Ġ"}[self.kind]
                found += [mark + parts[0], *parts[1:]]
        if padding == "max_length":
            found += ["<pad>"] * (6 - len(found))
        self.pieces += found
        start = len(self.pieces) - len(found)
        return SimpleNamespace(input_ids=list(range(start, len(self.pieces))))

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        return [self.pieces[number] for number in ids]


def test_flux_is_labelled_by_t5() -> None:
    pipe = SimpleNamespace(tokenizer=Tokenizer("clip"), tokenizer_2=Tokenizer("t5"))
    pipe.tokenizer.convert_ids_to_tokens = lambda ids: pytest.fail("CLIP's tokens are not in the text stream")
    assert tokens_of(pipe, "a corgi") == ["a", "cor", "gi"]


def test_sd3_holds_clip_with_its_padding_then_t5() -> None:
    pipe = SimpleNamespace(tokenizer=Tokenizer("clip"), tokenizer_2=Tokenizer("clip"), tokenizer_3=Tokenizer("t5"))
    found = tokens_of(pipe, "a corgi")
    assert found == ["a", "cor", "gi", "<pad>", "<pad>", "<pad>", "a", "cor", "gi"]
    assert places_of("corgi", found) == [1, 2, 7, 8]


def test_qwen_drops_the_start_of_its_template() -> None:
    pipe = SimpleNamespace(
        tokenizer=Tokenizer("qwen"), prompt_template_encode="say {} end", prompt_template_encode_start_idx=1
    )
    assert tokens_of(pipe, "a corgi") == ["a", "cor", "gi", "end"]


def test_the_tiny_flux(tiny_flux: Any) -> None:
    tokens = tokens_of(tiny_flux, "a large star at the left, on sea")
    assert places_of("star", tokens) == [tokens.index("star")]


def test_words_and_phrases() -> None:
    tokens = ["a", "red", "mug", "red", "rose"]
    assert places_of("red", tokens) == [1, 3]
    assert places_of("red mug", tokens) == [1, 2]
    for wrong in ("re", "mugs", ""):
        with pytest.raises(InputError, match="among the text tokens a red mug red rose"):
            places_of(wrong, tokens)
