"""What adapters are trained on and judged by: pairs, cases, benchmarks, metrics. Importing this needs no torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

Box = tuple[float, float, float, float]
"""left, top, right, bottom in [0, 1]."""


@dataclass(frozen=True)
class Pair:
    """One training example: the reference shows the subject, the target shows it as the prompt says."""

    id: str
    reference: Image.Image
    target: Image.Image
    prompt: str
    subject: str = ""
    notes: tuple[tuple[str, str], ...] = ()
    """What was told (``dynaip.notes.tell``) while it was read: kind and line; loaders fill it."""


class PairSource(ABC):
    """An indexable set of training pairs. Built as ``Source(config)``; the same index always gives the same pair."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Pair:
        """Load one pair; raises ``BadSample`` with the reason if its files cannot be used."""

    def fingerprint(self) -> Mapping[str, Mapping[str, str]] | None:
        """Name of each pair, in order -> part (prompt, target, …) -> digest: a resumed run compares them.

        None where that is not cheap: then a few pairs are read and compared.
        """
        return None


@dataclass(frozen=True)
class CaseReference:
    """A reference of a benchmark case; ``region`` None means everywhere."""

    image: Image.Image
    region: Box | None = None
    subject: str = ""
    mask: Callable[[], Any] | None = None
    """Gives where the subject is in the picture (height x width, bool), if the benchmark knows; for analyses alone."""


@dataclass(frozen=True)
class Case:
    """One thing to generate and score."""

    id: str
    suite: str
    prompt: str
    references: tuple[CaseReference, ...]
    seed: int
    size: tuple[int, int] | None = None
    truth: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Whatever the benchmark's metrics need to know."""
    category: str = ""
    """Kind of subject (animal, object, …), for tables; empty if the benchmark has none."""


class Benchmark(ABC):
    """Cases in suites. Built as ``Benchmark(config)``."""

    suites: tuple[str, ...]

    @abstractmethod
    def cases(self, suite: str, *, seed: int = 0) -> Sequence[Case]:
        """The cases of one suite; the same seed always gives the same cases."""

    def places(self, case: Case) -> Sequence[str]:
        """Where other people's programs leave the picture of a case: paths in their folder, without the ending."""
        return (case.id, f"{case.id}/{case.seed}")


class Metric(ABC):
    """Scores generated images. Built as ``Metric(config)``."""

    columns: tuple[str, ...]
    """Names of the values that ``score`` gives, e.g. ``("cp", "pf", "leak")``."""

    def to(self, device: Any) -> Metric:
        """Move the models that it holds, if any, and give it back. Pictures come as PIL images in any case."""
        return self

    def about(self) -> Mapping[str, Any]:
        """What the scores depend on, as plain data: models, revisions, preprocessing. It is kept with the table."""
        return {}

    @abstractmethod
    def score(self, cases: Sequence[Case], images: Sequence[Image.Image]) -> list[dict[str, float]]:
        """One dict a case; NaN where a value is not defined for the case."""


class Segmenter(ABC):
    """Finds subjects in pictures, for metrics that look at the subject alone. Built as ``Segmenter(config)``."""

    def to(self, device: Any) -> Segmenter:
        """Move the models that it holds, if any, and give it back."""
        return self

    @abstractmethod
    def masks(self, images: Sequence[Image.Image], subjects: Sequence[str]) -> Sequence[Any]:
        """One mask a picture (height x width, bool or 0 to 1) of the subject that is named; all zero where it is not there."""
