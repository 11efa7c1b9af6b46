"""What adapters are trained on and judged by: pairs, cases, benchmarks, metrics. Importing this needs no torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from PIL import Image

Box = tuple[float, float, float, float]
"""left, top, right, bottom in [0, 1]."""


@dataclass(frozen=True)
class PairReference:
    """One reference of a training example."""

    image: Image.Image
    region: Box | Image.Image | None = None
    """Where the subject may appear in the target: a box, or a mask of the target's shape; None means everywhere."""
    mask: Image.Image | None = None
    """Where the subject is in ``image`` (grey values, of its size): the rest is trained on as white."""
    subject: str = ""


@dataclass(frozen=True)
class Pair:
    """One training example: the references show the subjects, the target shows them as the prompt says.

    ``reference`` is the picture of the first of ``references``; a pair made of ``reference`` alone has that one.
    """

    id: str
    reference: Image.Image
    target: Image.Image
    prompt: str
    subject: str = ""
    notes: tuple[tuple[str, str], ...] = ()
    """What was told (``dynaip.notes.tell``) while it was read: kind and line; loaders fill it."""
    references: tuple[PairReference, ...] = ()

    def __post_init__(self) -> None:
        first = self.references[0] if self.references else PairReference(self.reference, subject=self.subject)
        if first.image is not self.reference:  # replace(pair, reference=...)
            first = replace(first, image=self.reference)
        object.__setattr__(self, "references", (first, *self.references[1:]))

    @classmethod
    def of(
        cls, id: str, references: Sequence[PairReference], target: Image.Image, prompt: str, subject: str = ""
    ) -> Pair:
        """Make a pair of one or more references."""
        return cls(id, references[0].image, target, prompt, subject, references=tuple(references))

    def with_references(self, references: Sequence[PairReference]) -> Pair:
        """Give the same pair with other references, one at least."""
        return replace(self, reference=references[0].image, references=tuple(references))


class PairSource(ABC):
    """An indexable set of training pairs. Built as ``Source(config)``; the same index always gives the same pair.

    What may be left out tells the training how to order pairs whose targets differ in size, or that lie in shards.
    """

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

    def sizes(self) -> Sequence[tuple[int, int]] | None:
        """(height, width) in pixels of every pair's target, in order; None if all have one size.

        Batches hold targets of one size. Asked for once a process, so that a source may look at its files for it.
        """
        return None

    def picture_sizes(self) -> Sequence[tuple[int, int]] | Any | None:
        """(height, width) of every target's picture before it was fitted (0, 0: it cannot be read), to tell what is cropped.

        A sequence or an array of N x 2; None where the source does not know.
        """
        return None

    def blocks(self) -> Sequence[int] | None:
        """Numbers of consecutive pairs that lie together (a shard's), in order; None if no pair is nearer than others.

        An epoch then takes a few blocks at a time, in an order of its own, and shuffles what is in them.
        """
        return None

    def kin(self, index: int) -> Sequence[int]:
        """All pairs that are made of the pictures of this one (the other way round, or once more), itself among them.

        Those that are held out of training are held out with their kin.
        """
        return (index,)

    def name(self, index: int) -> str:
        """What messages call a pair that cannot be read, e.g. its file and row; empty where its number says it all."""
        return ""


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
        """Where other people's programs leave the picture of a case: paths in their folder, without the ending.

        In a path's last part ``*`` stands for whatever follows; ``#N`` (1 to 4) behind it takes a quarter (rows first) of a
        picture that holds four in a square.
        """
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

    def estimate(self, cases: Sequence[Case]) -> str | None:
        """Calls, tokens and money that scoring these cases would take, in one line; None where that is nothing to speak of."""
        return None

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
