"""Options that metrics which look through a vision tower share; light to import."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt

from dynaip.config import ComponentConfig


class TowerConfig(ComponentConfig):
    """Options of metrics that look through one vision tower."""

    model: str = "facebook/dinov2-small"
    """Hub id, folder or bundle of a vision tower."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    dtype: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Type of the weights."""
    batch_size: PositiveInt = Field(default=64)
    """Pictures at once; it changes nothing of the scores beyond rounding."""
