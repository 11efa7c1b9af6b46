"""Words of a prompt, and the places of their tokens in the text stream of each family."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, cast

from torch import Tensor, nn

from dynaip.contracts import Backbone
from dynaip.errors import InputError

_MARKS = re.compile(r"</w>|^##|[▁Ġ\s]")
"""What tokenizers add to a piece of a word: CLIP's and BERT's marks, sentencepiece's and byte-level spaces."""
INSIDE = "##"
"""What stands before a piece that goes on with the word of the piece before it, as in BERT: ``cor`` and ``##gi``."""


class _HeardError(Exception):
    """Ends the encoding of a prompt once its tokens are known, before the encoder computes anything."""

    def __init__(self, ids: list[int]) -> None:
        super().__init__()
        self.ids = ids


def tokens_of(backbone: Backbone, pipe: Any, prompt: str) -> list[str]:
    """Tokens of a prompt without padding behind them, at their places in the text stream.

    They are what the pipeline itself gives to the encoder of the stream, with its template (Qwen-Image, FLUX.2); in SD3 the
    tokens of CLIP with their padding come first, then those of T5.
    """
    tokenizer, encoder, start = backbone.text_stream(pipe)
    there = cast("nn.Module | None", encoder)  # a pipeline may be without it, if prompts were encoded before
    ids = list(tokenizer(prompt).input_ids) if there is None else _given(backbone, pipe, prompt, there)
    pieces = pieces_of(tokenizer, _without_padding(tokenizer, ids))
    if start <= 0:
        return pieces[-start:]
    before = pipe.tokenizer(prompt, padding="max_length", max_length=start, truncation=True).input_ids
    return [*pieces_of(pipe.tokenizer, before), *pieces]


def _given(backbone: Backbone, pipe: Any, prompt: str, encoder: nn.Module) -> list[int]:
    """The ids that the encoder of the text stream gets for a prompt."""

    def hear(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        ids = kwargs.get("input_ids", args[0] if args else None)
        if isinstance(ids, Tensor):
            raise _HeardError(ids[0].tolist())

    handle = encoder.register_forward_pre_hook(hear, with_kwargs=True, prepend=True)
    try:
        backbone.encode_prompts(pipe, [prompt])
    except _HeardError as heard:
        return heard.ids
    finally:
        handle.remove()
    raise InputError("the text encoder is given no tokens, so the words of a prompt have no places")


def _without_padding(tokenizer: Any, ids: Sequence[int]) -> list[int]:
    """Ids up to the last that is no padding; one stays where padding is the end of a text, as in CLIP."""
    pad, end = (getattr(tokenizer, name, None) for name in ("pad_token_id", "eos_token_id"))
    length = next((place for place in range(len(ids), 0, -1) if ids[place - 1] != pad), 0)
    return list(ids[: length + (pad is not None and pad == end)])


def pieces_of(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """Tokens without their tokenizer's marks; a mark that stands alone is ``▁``, and pieces inside a word begin with ``##``."""
    tokens = [str(token) for token in tokenizer.convert_ids_to_tokens(ids)]
    pieces = [_piece(tokenizer, token) or "▁" for token in tokens]
    special = set(getattr(tokenizer, "all_special_tokens", ()))
    inside = _inside(tokens)
    for place in range(1, len(pieces)):
        letters = clean(pieces[place - 1])[-1:].isalnum() and pieces[place][0].isalnum()
        if letters and inside[place] and special.isdisjoint(tokens[place - 1 : place + 1]):
            pieces[place] = INSIDE + pieces[place]
    return pieces


def _inside(tokens: Sequence[str]) -> list[bool]:
    """Whether each token goes on without a space, by marks at the ends (CLIP), inside (BERT) or at the starts of words."""
    if any(token.endswith("</w>") for token in tokens):
        return [False, *(not before.endswith("</w>") for before in tokens[:-1])]
    if any(token.startswith(("▁", "Ġ")) for token in tokens):
        return [not token.startswith(("▁", "Ġ")) for token in tokens]
    return [token.startswith("##") for token in tokens]


def _piece(tokenizer: Any, token: str) -> str:
    """Byte-level tokenizers write letters beyond ASCII as bytes: they are read back where a token holds whole letters."""
    plain = clean(token)
    if plain.isascii():
        return plain
    read = str(tokenizer.convert_tokens_to_string([token])).strip()
    return plain if "\ufffd" in read else clean(read)


def clean(token: str) -> str:
    """A token without its tokenizer's marks."""
    return _MARKS.sub("", token)


def occurrences(word: str, tokens: Sequence[str]) -> list[range]:
    """Places of the tokens that spell a word (or phrase), one range an occurrence."""
    wanted = clean(word).lower()
    found = (range(start, start + _length(wanted, tokens, start)) for start in range(len(tokens)))
    return [places for places in found if places]


def places_of(word: str, tokens: Sequence[str]) -> list[int]:
    """Places of the tokens that a word (or phrase) is made of, at every occurrence; ``InputError`` if there is none."""
    found = sorted({place for places in occurrences(word, tokens) for place in places})
    if not found:
        raise InputError(f"no {word!r} among the text tokens {' '.join(tokens)}")
    return found


def _length(wanted: str, tokens: Sequence[str], start: int) -> int:
    """How many tokens from ``start`` spell the word as a whole; 0 if they do not: ``star`` is no word of ``starfish``."""
    if tokens[start].startswith(INSIDE):
        return 0
    spelt = ""
    for length, token in enumerate(tokens[start:], start=1):
        spelt += clean(token).lower()
        if not spelt or not wanted.startswith(spelt):
            return 0
        if spelt == wanted:
            goes_on = "".join(tokens[start + length : start + length + 1]).startswith(INSIDE)
            return 0 if goes_on else length
    return 0
