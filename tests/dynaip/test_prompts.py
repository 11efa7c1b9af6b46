"""Prompts that are cut: the line says how many tokens are read of how many, once for all prompts."""

from __future__ import annotations

import warnings

import pytest

from dynaip.notes import Note
from dynaip.prompts import PromptLimit, cut, tell_cut

CLIP = PromptLimit("CLIP", 4, lambda text: len(text.split()) + 2)
T5 = PromptLimit("T5", 6, lambda text: len(text.split()) + 1)


def test_the_line_by_hand() -> None:
    assert cut([CLIP, T5], ["a b"]) is None
    assert cut([CLIP, T5], ["a b c"]) == (
        "CLIP reads 4 of 5 tokens of the prompt: what stands behind has no effect there"
    )
    both = cut([CLIP, T5], ["a b c d e f"])
    assert both is not None
    assert "CLIP reads 4 of 8 tokens of the prompt; T5 reads 6 of 7 tokens of the prompt" in both
    assert cut([CLIP, CLIP], ["a b c"]) == cut([CLIP], ["a b c"])


def test_many_prompts_are_counted() -> None:
    line = cut([CLIP], ["a", "a b c", "a b c d", "a b c d"])
    assert line is not None
    assert line.startswith("CLIP reads 4 of 6 tokens of the longest prompt, and 2 of 3 prompts are longer than that")


def test_it_is_told_as_one_note() -> None:
    with pytest.warns(Note, match="CLIP reads 4 of 5") as told:
        tell_cut([CLIP, T5], ["a b c", "a"])
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tell_cut([CLIP], ["a b"])
