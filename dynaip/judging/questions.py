"""Questions to a judge: a rubric about a case's picture, and the key that an answer is kept under."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from typing import Any

from PIL import Image

from dynaip.contracts import Case
from dynaip.judging.rubric import Rubric

NAMES = {"reference": "Reference:", "image": "Picture:", "first": "First:", "second": "Second:"}


@dataclass(frozen=True)
class Question:
    """One call to a judge."""

    rubric: Rubric
    text: str
    pictures: Sequence[tuple[str, Image.Image]] = field(repr=False)
    """Name and picture, in the order in which they are shown."""
    case: str
    place: int
    """Which of the cases it is about."""
    reference: int = 0
    repeat: int = 0
    swapped: bool = False
    """Whether the case's own picture is the second of the two."""

    @cached_property
    def digests(self) -> list[str]:
        """Hashes of the pictures' pixels as they are sent, whatever file format carries them."""
        return [hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest() for _, image in self.pictures]

    def key(self, judge: Mapping[str, Any]) -> str:
        """Hash of all that an answer depends on: the judge and its sampling, the words, the pictures, the repeat."""
        every = [judge, self.rubric.answer, self.text, [name for name, _ in self.pictures], self.digests, self.repeat]
        return hashlib.sha256(json.dumps(every, sort_keys=True).encode()).hexdigest()

    def about(self) -> dict[str, Any]:
        """What people want to know of it."""
        own = "image" if "image" in self.rubric.pictures else "second" if self.swapped else "first"
        return {
            "case": self.case,
            "picture": self.digests[list(self.rubric.pictures).index(own)][:12],
            "rubric": self.rubric.name,
            "reference": self.reference,
            "repeat": self.repeat,
            "swapped": self.swapped,
        }


def count(rubrics: Sequence[Rubric], cases: Sequence[Case], repeats: int) -> int:
    """Number of questions, without any picture."""
    return repeats * sum(
        len(case.references) if "reference" in rubric.pictures else 1 for rubric in rubrics for case in cases
    )


def questions(
    rubrics: Sequence[Rubric],
    cases: Sequence[Case],
    images: Sequence[Image.Image],
    *,
    repeats: int = 1,
    size: int = 512,
    others: Sequence[Image.Image] | None = None,
) -> Iterator[Question]:
    """All questions about the cases' pictures; ``others`` are those that they are held against (``choice`` rubrics).

    Pictures are made smaller to ``size`` pixels on their longer side. Of two pictures, which comes first is drawn by lot from
    their contents (the same for the same two), and the next repeat shows them the other way round.
    """
    for place, (case, image) in enumerate(zip(cases, images, strict=True)):
        own, other = _fitted(image, size), _fitted(others[place], size) if others is not None else None
        for rubric in rubrics:
            shown = list(enumerate(case.references)) if "reference" in rubric.pictures else [(0, None)]
            for at, reference in shown:
                told = reference.subject if reference else ""
                given = {"reference": _fitted(reference.image, size)} if reference else {}
                for repeat in range(repeats):
                    swapped = other is not None and (_lot(case.id, own, other) + repeat) % 2 == 1
                    pair = {"first": other if swapped else own, "second": own if swapped else other}
                    every: dict[str, Any] = {**given, "image": own, **pair}
                    pictures = [(NAMES[name], every[name]) for name in rubric.pictures]
                    text = rubric.words(case.prompt, told)
                    yield Question(rubric, text, pictures, case.id, place, at, repeat, swapped)


def _lot(case: str, own: Image.Image, other: Image.Image) -> int:
    return hashlib.sha256(case.encode() + bytes(a ^ b for a, b in zip(_tiny(own), _tiny(other)))).digest()[0] % 2


def _tiny(image: Image.Image) -> bytes:
    return image.resize((8, 8)).tobytes()


def _fitted(image: Image.Image, size: int) -> Image.Image:
    image = image.convert("RGB")
    if max(image.size) > size:
        image.thumbnail((size, size), Image.Resampling.LANCZOS)
    return image


def png(image: Image.Image) -> bytes:
    """A picture as a PNG file's bytes."""
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
