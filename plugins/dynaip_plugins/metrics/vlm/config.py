"""Options of the vision-language judge."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from dynaip.config import ComponentConfig

Price = Annotated[float, Field(ge=0)]


class VlmConfig(ComponentConfig):
    """Who judges, what is asked, how often, and what it may cost. Keys come from the environment alone (OPENAI_API_KEY)."""

    model: str
    """Name of a model at the endpoint; for `where: local` a hub id or folder of an image-text-to-text model."""
    where: Literal["endpoint", "local"] = "endpoint"
    """An OpenAI-compatible endpoint, or transformers on this machine (greedy)."""
    base_url: str | None = None
    """The endpoint; OPENAI_BASE_URL of the environment by default. Another one than that is taken on this machine alone."""
    revision: str | None = None
    """Branch, tag or commit on the hub (local)."""
    dtype: Literal["fp32", "bf16", "fp16"] = "bf16"
    """Numbers that a local model computes with."""
    rubrics: list[str] = Field(["cp", "pf"], min_length=1)
    """Names of rubrics that ship, or files; each becomes a column of scores from 0 to 1."""
    against: Path | None = None
    """Pictures of another arm (a run or its samples): the judge then says which of the two is better, 1 the run's own, 0 the
    other, 0.5 a tie; columns `cp_win`, `pf_win`."""
    prefix: str = Field("", pattern=r"^[A-Za-z0-9_]*$")
    """Put before the columns' names, where several judges stand side by side: `qwen_`."""
    repeats: PositiveInt = 1
    """How often each question is asked; of two pictures each comes first every other time."""
    temperature: float = Field(0.0, ge=0, le=2)
    """Sampling temperature of an endpoint."""
    max_tokens: PositiveInt = 500
    """Longest answer, in tokens."""
    structured: Literal["response_format", "structured_outputs", "none"] = "response_format"
    """How an endpoint is held to the form of the answer: OpenAI's JSON schema, vLLM's own field, or words alone."""
    size: PositiveInt = 512
    """Longer side of the pictures that are shown, in pixels; smaller ones stay as they are."""
    records: Path = Path("judgements")
    """Folder of the answers: they are kept for good and never asked twice."""
    replay: bool = False
    """Take the answers that are kept, and ask nothing."""
    coverage: float = Field(0.95, ge=0, le=1)
    """Share of questions that must be answered: with fewer there is no score."""
    concurrency: PositiveInt = 4
    """Questions at once (endpoint)."""
    tries: PositiveInt = 5
    """Calls for one question, at most, where a server is busy or fails."""
    timeout: PositiveFloat = 120.0
    """Seconds for one call."""
    pause: float = Field(1.0, ge=0)
    """Seconds before the second try, doubled with every further one."""
    max_calls: PositiveInt | None = None
    """Calls of one evaluation, at most."""
    prices: tuple[Price, Price] | None = None
    """Money for a million tokens in and a million out, for the estimate and for `max_cost`."""
    max_cost: PositiveFloat | None = None
    """Money for one evaluation, at most: it is refused if the estimate is higher, and stops where it is spent."""
    seed: int = 0
    """Of the order in which questions are asked."""

    @field_validator("base_url")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        parts = urlsplit(value or "http://localhost")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("an address such as http://localhost:8000/v1")
        if "@" in parts.netloc or parts.query:
            raise ValueError("an address holds no name, password or key: set OPENAI_API_KEY in the environment")
        return value

    @model_validator(mode="after")
    def _priced(self) -> Self:
        if self.max_cost is not None and self.prices is None:
            raise ValueError("max_cost needs prices: money for a million tokens in and out, e.g. prices: [2.5, 10]")
        return self
