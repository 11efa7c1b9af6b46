"""Options in words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from dynaip.config import ComponentConfig, TrainingConfig
from dynaip.config.describe import describe, type_words


class Parent(ComponentConfig):
    inherited: int = 1
    """What the parent says."""


class Options(Parent):
    must: str
    """Has no default,
    and two lines."""
    part: float = Field(0.5, ge=0, lt=1, description="From the field.")
    where: Path | None = None
    inside: Parent = Parent()
    switches: list[bool] = [True]


def test_options_have_types_defaults_and_texts() -> None:
    rows = [(each.name, each.type, each.default, each.text) for each in describe(Options)]
    assert rows == [
        ("inherited", "int", "1", "What the parent says."),
        ("must", "str", "required", "Has no default, and two lines."),
        ("part", "float >= 0 and < 1", "0.5", "From the field."),
        ("where", "Path | null", "null", ""),
        ("inside", "options", "", ""),
        ("inside.inherited", "int", "1", "What the parent says."),
        ("switches", "list[bool]", "[true]", ""),
    ]


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (Literal["a", "b"], "a | b"),
        (list[int], "list[int]"),
        (dict[str, float | None], "dict[str, float | null]"),
        (tuple[int, ...], "tuple[int]"),
        (Annotated[int, 3], "int"),
    ],
)
def test_types_are_written_as_one_says_them(annotation: object, words: str) -> None:
    assert type_words(annotation) == words


def test_our_own_options_are_described() -> None:
    texts = {each.name: each for each in describe(TrainingConfig)}
    assert texts["drop_prompt"].type == "float >= 0 and <= 1"
    assert "emptied" in texts["drop_prompt"].text
