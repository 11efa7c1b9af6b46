"""MultiBanana (CC BY-NC 4.0): ``<task>/<set>_prompt.txt`` with references ``<set>_0.jpg``, ``<set>_1.jpg``, …; a suite a task."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from dynaip.contracts import Case, CaseReference
from dynaip.errors import InputError
from dynaip.plain import check_name
from dynaip.reading import mapping
from dynaip.suggest import did_you_mean

from ..copies import CopiedBenchmark, pictures_in, text_lines
from .config import MultiBananaConfig

PROMPT = "_prompt.txt"


class MultiBanana(CopiedBenchmark):
    """Up to eight references a case."""

    where = "the data set kohsei/MultiBanana-Benchmark (https://github.com/matsuolab/multibanana)"
    config: MultiBananaConfig

    @cached_property
    def suites(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The tasks: folders that hold prompts."""
        there = sorted({path.parent.name for path in self._base.glob(f"*/*{PROMPT}")})
        if not there:
            raise InputError(f"{self._base}: there are no tasks with prompts; get {self.where}")
        for task in self.config.tasks or ():
            if task not in there:
                raise InputError(f"benchmark.tasks: the copy has no task {task}.{did_you_mean(task, there)}")
        return tuple(check_name(task, "the task") for task in self.config.tasks or there)

    @cached_property
    def _base(self) -> Path:
        return self.root / "data" if (self.root / "data").is_dir() else self.root

    def cases(self, suite: str, *, seed: int = 0) -> Sequence[Case]:
        """Read the sets of a task; ``InputError`` names the set whose prompt or references are missing."""
        self.check_suite(suite)
        folder = self._base / suite
        kinds = mapping(folder / "types.json")
        texts = sorted(folder.glob(f"*{PROMPT}"))
        prompted = {text.name.removesuffix(PROMPT) for text in texts}
        for path in pictures_in(folder):
            number, _, place = path.stem.rpartition("_")
            if place.isdigit() and number not in prompted:
                raise InputError(f"{folder / number}{PROMPT}: the prompt of {path.name} is missing; get {self.where}")
        return [self._case(suite, text, str(kinds.get(text.name.removesuffix(PROMPT), "")), seed) for text in texts]

    def _case(self, suite: str, text: Path, kind: str, seed: int) -> Case:
        number = text.name.removesuffix(PROMPT)
        own = re.compile(rf"{re.escape(number)}_(\d+)")
        named = [(int(found[1]), path) for path in pictures_in(text.parent) if (found := own.fullmatch(path.stem))]
        named.sort()
        if not named or [place for place, _ in named] != list(range(len(named))):
            raise InputError(f"{text}: its references {number}_0, {number}_1, … are not all there; get {self.where}")
        prompt = " ".join(text_lines(text))
        if not prompt:
            raise InputError(f"{text} is empty; get {self.where}")
        references = [CaseReference(self.picture(path)) for _, path in named]
        return self.case(
            f"{suite}-{number}", suite, prompt, references, seed, category=kind, places=[f"{suite}/{number}_generated"]
        )
