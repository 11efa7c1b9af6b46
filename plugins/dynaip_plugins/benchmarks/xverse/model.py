"""XVerseBench (Chen et al. 2025): lists of prompts with one to three people, things and animals.

``eval/tools/XVerseBench_single.json`` and ``…_multi.json`` of its repository; the pictures lie below ``assets/XVerseBench``,
those of things and animals come from DreamBench++ by the repository's ``assets/rename.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dynaip.contracts import Case, CaseReference
from dynaip.errors import InputError
from dynaip.reading import rows_of

from ..copies import CopiedBenchmark
from .config import XVerseBenchConfig

LISTS = {"single": "XVerseBench_single.json", "multi": "XVerseBench_multi.json"}


class XVerseBench(CopiedBenchmark):
    """One subject, or several without regions."""

    suites = tuple(LISTS)
    where = "XVerseBench from https://github.com/bytedance/XVerse (its assets/ReadMe.md says how)"
    config: XVerseBenchConfig

    def cases(self, suite: str, *, seed: int = 0) -> Sequence[Case]:
        """Read a list; ``InputError`` names the entry, or the picture that is missing."""
        self.check_suite(suite)
        listed = self.part(f"eval/tools/{LISTS[suite]}", LISTS[suite])
        rows = list(enumerate(rows_of(listed)))
        return [
            self._case(suite, listed, number, row, image, seed)
            for image in range(self.config.images)
            for number, row in rows
        ]

    def _case(self, suite: str, listed: Path, number: int, row: Mapping[str, Any], image: int, seed: int) -> Case:
        try:
            prompt, index = row["prompt"], int(row.get("index", number))
            inputs = [each for part in row["modulation"] for each in part.get("src_inputs", ())]
            asked = [(str(each["image_path"]), str(each["caption"])) for each in inputs]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{listed}: entry {number} is not as the benchmark writes it; get {self.where}") from error
        if not asked or not isinstance(prompt, str):
            lacking = "reference" if not asked else "prompt"
            raise InputError(f"{listed}: entry {number} has no {lacking}; get {self.where}")
        references = [CaseReference(self.picture(self.root / path), subject=_word(caption)) for path, caption in asked]
        kinds = sorted({Path(path).parent.name for path, _ in asked})
        # Its programs write NUMBER_PROMPT.png, a square of four, with the prompt shortened in ways of their own.
        places = [*([f"{index}"] if not image else []), f"{index}_*#{image + 1}"]
        return self.case(
            f"{suite}-{index:03d}" + (f"-{image}" if image else ""), suite, prompt, references, seed,
            category="+".join(kinds), places=places,
        )  # fmt: skip


def _word(caption: str) -> str:
    first, _, rest = caption.partition(" ")
    return rest if first.lower() in ("a", "an", "the") and rest else caption
