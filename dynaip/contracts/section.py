"""The contract of report sections. It needs no torch, so that a report is rebuilt from files in a moment."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dynaip.errors import InputError


@dataclass(frozen=True)
class SectionContent:
    """A part of the report: paragraphs of text, figures and tables, in order."""

    title: str
    lead: str
    figures: Sequence[tuple[Path, str]] = ()
    """PNG or SVG files, each with its caption (also the alternative text)."""
    tables: Sequence[tuple[str, Path]] = ()
    """Caption and parquet or csv file."""


@dataclass(frozen=True)
class AnalysisRequest:
    """What `dynaip analyze` asks a section for."""

    run: str
    """RUN: a run folder, a hub id, or the name of a bundle such as ``microworld``."""
    out: Path
    """Folder for figures and tables."""
    reference: Path | None = None
    """The user's picture; None takes cases of the run's benchmark."""
    prompt: str | None = None
    seed: int = 0
    labelled: Path | None = None
    """Labelled pictures that probes read, sorted into folders or with a table; None takes what the benchmark knows."""


class ReportSection(ABC):
    """Contributes to the report. Built as ``Section(config)``; ``order`` in its config says where, 0 to 100."""

    effort: int = 0
    """How long ``prepare`` takes beside other sections: where several are prepared at a time, more is begun first."""

    def analyse(self, request: AnalysisRequest) -> Sequence[Path]:
        """Write figures (PNG) and their tables (parquet) for a single run, and give the files of the figures.

        Raises ``InputError`` if the section has nothing to say about a single run.
        """
        raise InputError(f"{type(self).__name__} makes no analysis of a single run")

    @abstractmethod
    def prepare(self, directory: Path) -> None:
        """Compute the section's tables and figures under ``directory / "analysis"``; may load models. Done once."""

    @abstractmethod
    def content(self, directory: Path) -> SectionContent | None:
        """Read those files back, without any model; None if there is nothing to show."""
