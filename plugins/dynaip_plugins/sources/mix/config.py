"""Options of a mix: which sources, and how much of each."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Self

from pydantic import Field, PositiveFloat, model_validator

from dynaip.config import ComponentSpec, OfKind, SourceConfig


class MixConfig(SourceConfig):
    """Which sources, and how much of each."""

    sources: list[Annotated[ComponentSpec, OfKind("source")]] = Field(min_length=1)
    """The sources, each with its own options."""
    weights: list[PositiveFloat] | None = None
    """Share of the samples that each gives, one number a source (they need not sum to 1); None: as many as it has pairs."""

    @model_validator(mode="after")
    def _one_each(self) -> MixConfig:
        if self.weights is not None and len(self.weights) != len(self.sources):
            raise ValueError(f"weights: give one a source: {len(self.sources)}, not {len(self.weights)}")
        return self

    def training_part(self) -> dict[str, Any]:
        """What training sees of the sources."""
        parts = [{"use": each.use, **each.config.training_part()} for each in self.sources]
        return {"sources": parts, "weights": self.weights}

    def target_size(self) -> tuple[int, int] | None:
        """A size, if every source that can choose one has it; None if one leaves it open."""
        sized = [each.config for each in self.sources if isinstance(each.config, SourceConfig)]
        sizes = [each.target_size() for each in sized]
        return None if None in sizes else next(iter(sizes), None)

    def target_sizes(self) -> list[tuple[int, int]]:
        """The sizes of all sources."""
        sized = [each.config for each in self.sources if isinstance(each.config, SourceConfig)]
        return list(dict.fromkeys(size for each in sized for size in each.target_sizes()))

    def sized(self, height: int, width: int) -> Self:
        """The same sources, with a size where they leave it open."""
        sources = [
            replace(each, config=each.config.sized(height, width)) if isinstance(each.config, SourceConfig) else each
            for each in self.sources
        ]
        return self.model_copy(update={"sources": sources})
