"""Text tokens of a prompt as the text stream holds them, and the tokens that a word is made of."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from dynaip.errors import InputError

_MARKS = re.compile(r"</w>|^##|[▁Ġ\s]")
"""What tokenizers add to a piece of a word: CLIP's and BERT's marks, sentencepiece's and byte-level spaces."""


def tokens_of(pipe: Any, prompt: str) -> list[str]:
    """Tokens of a prompt without padding, at their places in the text stream.

    The stream holds what the last text encoder makes: T5 in FLUX, Qwen2.5-VL behind its template in Qwen-Image; in SD3
    CLIP's tokens with their padding come first, then those of T5.
    """
    if getattr(pipe, "tokenizer_3", None) is not None:
        clip = pipe.tokenizer(prompt, padding="max_length", truncation=True).input_ids
        return [*_pieces(pipe.tokenizer, clip), *_pieces(pipe.tokenizer_3, pipe.tokenizer_3(prompt).input_ids)]
    template = getattr(pipe, "prompt_template_encode", None)
    if template is not None:
        start = int(getattr(pipe, "prompt_template_encode_start_idx", 0))
        return _pieces(pipe.tokenizer, pipe.tokenizer(template.format(prompt)).input_ids[start:])
    tokenizer = getattr(pipe, "tokenizer_2", None) or pipe.tokenizer
    return _pieces(tokenizer, tokenizer(prompt).input_ids)


def _pieces(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    return [clean(str(token)) or "▁" for token in tokenizer.convert_ids_to_tokens(ids)]


def clean(token: str) -> str:
    """A token without its tokenizer's marks."""
    return _MARKS.sub("", token)


def places_of(word: str, tokens: Sequence[str]) -> list[int]:
    """Places of the tokens that a word (or phrase) is made of, at every occurrence; ``InputError`` if there is none."""
    wanted = clean(word).lower()
    found: list[int] = []
    for start in range(len(tokens)):
        length = _length(wanted, tokens, start)
        found += range(start, start + length)
    if not wanted or not found:
        raise InputError(f"no {word!r} among the text tokens {' '.join(tokens)}")
    return sorted(set(found))


def _length(wanted: str, tokens: Sequence[str], start: int) -> int:
    """How many tokens from ``start`` spell the word; 0 if they do not."""
    spelt = ""
    for length, token in enumerate(tokens[start:], start=1):
        spelt += clean(token).lower()
        if spelt == wanted:
            return length
        if not wanted.startswith(spelt):
            return 0
    return 0
