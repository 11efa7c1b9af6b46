"""Nearest names."""

from __future__ import annotations

import pytest

from dynaip.suggest import did_you_mean, nearest, one_line


@pytest.mark.parametrize(
    ("word", "names", "found"),
    [
        ("hmeo", ["hmoe", "concat"], ["hmoe"]),
        ("Router", ["router", "hidden"], ["router"]),
        ("qqq", ["router"], []),
        ("x", [], []),
        ("text_onl", ["text_only", "image_only"], ["text_only"]),
    ],
)
def test_nearest(word: str, names: list[str], found: list[str]) -> None:
    assert nearest(word, names) == found


def test_suggestions_are_a_question_or_nothing() -> None:
    assert did_you_mean("ab1", ["ab2", "ab3", "zz"]) == " Did you mean ab2 or ab3?"
    assert did_you_mean("qqq", ["router"]) == ""


def test_errors_become_one_line() -> None:
    assert one_line(ValueError("a\n  b")) == "ValueError: a b"
    assert one_line(KeyError()) == "KeyError"
