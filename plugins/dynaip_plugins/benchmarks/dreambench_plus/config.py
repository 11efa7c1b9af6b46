"""Options of DreamBench++."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ..copies import CopyConfig

Category = Literal["animal", "human", "object", "style"]


class DreamBenchPlusConfig(CopyConfig):
    """Which part of DreamBench++."""

    categories: list[Category] = Field(default=["animal", "human", "object", "style"], min_length=1)
    """Kinds of pictures."""
    prompts: list[int] = Field(default=list(range(9)), min_length=1)
    """Numbers of the prompts: 0 to 3 ask for a photograph, 4 to 6 for a style, 7 and 8 for something imagined."""
