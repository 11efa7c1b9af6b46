"""DreamBench++ (Peng et al., ICLR 2025) in the layout of its data: ``images/**/<category>/*.jpg``, ``captions/**/*.txt``.

The first line of a text is the subject, its prompts follow. Cases come prompt by prompt, so that a limit of 150 takes
every picture once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import get_args

from PIL import Image

from dynaip.contracts import Case, CaseReference
from dynaip.errors import InputError
from dynaip.notes import tell

from ..copies import CopiedBenchmark, pictures_in, text_lines
from .config import Category, DreamBenchPlusConfig

KINDS = ("photorealistic",) * 4 + ("style",) * 3 + ("imaginative",) * 2
"""What each of the nine prompts asks for."""
LIVE = ("animal", "human")


@dataclass(frozen=True)
class PromptedPicture:
    """One picture with its prompts."""

    id: str
    """As the benchmark's own programs name it: ``live_subject_animal_00_kitten``."""
    category: str
    subject: str
    prompts: Sequence[str]
    picture: Path
    image: Image.Image


class DreamBenchPlus(CopiedBenchmark):
    """All cases are one suite; the category of each stands in the table."""

    suites = ("full",)
    where = "DreamBench++ from https://dreambenchplus.github.io (or the data set yuangpeng/dreambench_plus)"
    config: DreamBenchPlusConfig

    def cases(self, suite: str, *, seed: int = 0) -> Sequence[Case]:
        """Read pictures and prompts; ``InputError`` names what is missing or does not belong together."""
        self.check_suite(suite)
        if wrong := [number for number in self.config.prompts if not 0 <= number < len(KINDS)]:
            raise InputError(
                f"benchmark.prompts: there is no prompt {wrong[0]}: write numbers from 0 to {len(KINDS) - 1}"
            )
        return [self._case(suite, found, number, seed) for number in self.config.prompts for found in self.collections]

    def _case(self, suite: str, found: PromptedPicture, number: int, seed: int) -> Case:
        return self.case(
            f"{found.id}-{number}",
            suite,
            found.prompts[number],
            [CaseReference(found.image, subject=found.subject)],
            seed,
            category=found.category,
            places=[f"tgt_image/{found.id}/{number}_0", f"{found.id}/{number}_0"],
        )

    @cached_property
    def collections(self) -> list[PromptedPicture]:
        """Every picture of the wanted categories, in the order of the benchmark's own names."""
        found = list(self._read())
        if not found:
            wanted = ", ".join(self.config.categories)
            raise InputError(f"{self.root}: there are no pictures of {wanted}; get {self.where}")
        return sorted(found, key=lambda each: each.id)

    def _read(self) -> Iterator[PromptedPicture]:
        images, captions = self.part("images", "data/images"), self.part("captions", "data/captions")
        for picture in pictures_in(images):
            category = picture.parent.name
            if category not in get_args(Category):
                raise InputError(f"{picture}: its folder is none of {', '.join(get_args(Category))}; get {self.where}")
            if category not in self.config.categories:
                continue
            text = captions / picture.relative_to(images).with_suffix(".txt")
            if not text.is_file():
                raise InputError(f"{text}: the prompts of {picture.name} are missing; get {self.where}")
            subject, *prompts = text_lines(text) or [""]
            if len(prompts) < len(KINDS):
                raise InputError(
                    f"{text} holds {len(prompts)} prompts behind the subject, not {len(KINDS)}; get {self.where}"
                )
            if len(prompts) > len(KINDS):
                tell(f"{text} holds {len(prompts)} prompts behind the subject: the first {len(KINDS)} are read")
            kind = f"live_subject_{category}" if category in LIVE else category
            name = "_".join([kind, picture.stem, subject.lower().replace(" ", "_")])
            yield PromptedPicture(name, category, subject, prompts, picture, self.picture(picture))
        self._check_texts(images, captions)

    def _check_texts(self, images: Path, captions: Path) -> None:
        """Prompts without a picture are a part of the copy that is missing, not a smaller benchmark."""
        shown = {path.relative_to(images).with_suffix("") for path in pictures_in(images)}
        for text in sorted(captions.rglob("*.txt")):
            place = text.relative_to(captions).with_suffix("")
            if text.parent.name in self.config.categories and place not in shown:
                raise InputError(f"{images / place}.jpg: the picture of {text.name} is missing; get {self.where}")
