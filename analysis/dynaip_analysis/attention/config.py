"""Options of the section on attention."""

from __future__ import annotations

from pydantic import Field, PositiveInt, field_validator

from dynaip.errors import InputError
from dynaip_analysis.bench.config import SectionConfig
from dynaip_analysis.recording.budget import parse_bytes


class AttentionConfig(SectionConfig):
    """Options of the section on attention."""

    order: int = Field(10, ge=0, le=100)
    cases: PositiveInt = 2
    """Cases that are drawn."""
    masked: PositiveInt = 16
    """Cases that attention is compared with the subject's mask in, where the benchmark knows it."""
    budget: str = "512MB"
    """Bytes that recorded maps may take."""

    @field_validator("budget")
    @classmethod
    def _size(cls, value: str) -> str:
        try:
            parse_bytes(value)
        except InputError as error:
            raise ValueError(str(error)) from error
        return value
