"""DreamBench (Ruiz et al., CVPR 2023): 30 subjects x 25 prompts, with CLIP-I, CLIP-T (ViT-B/32) and DINO ViT-S/16.

Read from UNO's lists (``dreambench_singleip.json``, ``dreambench_multiip.json``: prompt and image_paths) if the copy has them
beside DreamBooth's ``dataset/``, and else from ``dataset/prompts_and_classes.txt`` itself: the prompts name the class, and
the first picture of a subject is its reference.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import takewhile
from pathlib import Path

from PIL import Image

from dynaip.contracts import Case, CaseReference
from dynaip.errors import InputError
from dynaip.notes import tell
from dynaip.reading import rows_of

from ..copies import CopiedBenchmark, pictures_in, text_lines
from .config import DreamBenchConfig

LISTS = {"single": "dreambench_singleip.json", "pairs": "dreambench_multiip.json"}
HEAD = "subject_name,class"
"""Of the classes, in the text."""
LIVE = ("cat", "dog")
"""Classes with prompts of their own."""


class DreamBench(CopiedBenchmark):
    """One subject, or (with UNO's list) two."""

    suites = ("single", "pairs")
    where = "DreamBooth's dataset from https://github.com/google/dreambooth (and its lists from https://github.com/bytedance/UNO)"
    config: DreamBenchConfig

    def cases(self, suite: str, *, seed: int = 0) -> Sequence[Case]:
        """Read a list; ``InputError`` names what is missing."""
        self.check_suite(suite)
        entries = list(self._entries(suite))
        return [
            self._case(suite, number, *entry, image, seed)
            for image in range(self.config.images)
            for number, entry in enumerate(entries)
        ]

    def _case(self, suite: str, number: int, prompt: str, paths: Sequence[Path], image: int, seed: int) -> Case:
        subjects = [path.parent.name for path in paths]
        name = f"{suite}-{number:04d}-{'_'.join(subjects)}" + (f"-{image}" if image else "")
        references = [
            CaseReference(self._picture(path), subject=self._classes.get(subject, subject.replace("_", " ")))
            for path, subject in zip(paths, subjects, strict=True)
        ]
        kinds = {"live" if each.subject in LIVE else "object" for each in references}
        category = kinds.pop() if len(kinds) == 1 else "mixed"
        return self.case(name, suite, prompt, references, seed, category=category, places=[f"{number}_{image}"])

    def _entries(self, suite: str) -> Iterator[tuple[str, Sequence[Path]]]:
        listed = next(
            (path for place in ("", "datasets/") if (path := self.root / place / LISTS[suite]).is_file()), None
        )
        if listed is None:
            if suite == "pairs":
                self.part(LISTS[suite])
            yield from self._protocol()
            return
        for number, row in enumerate(rows_of(listed), start=1):
            prompt, paths = row.get("prompt"), row.get("image_paths")
            if not isinstance(prompt, str) or not isinstance(paths, list) or not paths:
                raise InputError(f"{listed}: entry {number} needs prompt and a list image_paths; get {self.where}")
            if short := [path for path in paths if len(Path(str(path)).parts) < 2]:
                raise InputError(f"{listed}: entry {number}: {short[0]} names no folder of a subject; get {self.where}")
            yield prompt, [self._place(str(path)) for path in paths]

    def _place(self, path: str) -> Path:
        """A picture of the list, which names it from its own repository on: its last two parts say which it is."""
        subject, name = Path(path).parts[-2:]
        return self._pictures / subject / name

    @cached_property
    def _pictures(self) -> Path:
        return self.part("dataset", "dreambooth/dataset", "datasets/dreambooth/dataset")

    @cached_property
    def _opened(self) -> dict[Path, Image.Image]:
        return {}

    def _picture(self, path: Path) -> Image.Image:
        if path not in self._opened:
            self._opened[path] = self.picture(path)
        return self._opened[path]

    @cached_property
    def _text(self) -> Path:
        return self._pictures / "prompts_and_classes.txt"

    @cached_property
    def _classes(self) -> dict[str, str]:
        """Subject -> class: the lines below ``subject_name,class``, up to the first without a comma."""
        lines = text_lines(self._text) if self._text.is_file() else []
        below = lines[lines.index(HEAD) + 1 :] if HEAD in lines else []
        pairs = (line.partition(",") for line in takewhile(lambda line: "," in line, below))
        return {name.strip(): kind.strip() for name, _, kind in pairs}

    def _protocol(self) -> Iterator[tuple[str, Sequence[Path]]]:
        if not self._text.is_file() or not self._classes:
            raise InputError(f"{self._text}: there are no prompts and classes; get {self.where}")
        prompts = self._prompts()
        spare = [
            each.name for each in sorted(self._pictures.iterdir()) if each.is_dir() and each.name not in self._classes
        ]
        if spare:
            tell(f"{self._pictures}: {', '.join(spare[:3])} have no class in {self._text.name}; they are left out")
        for subject, kind in self._classes.items():
            picture = next(pictures_in(self._pictures / subject), None)
            if picture is None:
                raise InputError(f"{self._pictures / subject}: there are no pictures of {subject}; get {self.where}")
            for prompt in prompts["live" if kind in LIVE else "object"]:
                yield prompt.format("", kind).replace("  ", " "), [picture]

    def _prompts(self) -> dict[str, list[str]]:
        """The two lists of prompts of the text, objects first: their lines are literals with two gaps."""
        found: list[list[str]] = []
        inside = False
        for line in text_lines(self._text):
            if line.startswith("prompt_list"):
                found.append([])
                inside = True
            elif line.startswith("]"):
                inside = False
            elif inside:
                match = re.match(r"('[^']*'|\"[^\"]*\")\.format", line)
                if match is None:
                    raise InputError(f"{self._text}: no prompt can be read from {line[:80]!r}; get {self.where}")
                found[-1].append(str(ast.literal_eval(match[1])))
        if len(found) != 2 or not all(found):
            raise InputError(
                f"{self._text} does not hold the prompts of objects and of live subjects; get {self.where}"
            )
        return {"object": found[0], "live": found[1]}
