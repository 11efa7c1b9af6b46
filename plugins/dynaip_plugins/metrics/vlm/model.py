"""CP and PF by a vision-language judge, from 0 to 1 (its 0 to 4 by four), or how often it prefers a picture to another arm's.

Rubrics are ours. Refused, malformed and failed answers are states: they are no zeros, their share is a column, and a score that
too few answers stand behind is refused.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from PIL import Image

from dynaip.contracts import Case, Metric
from dynaip.errors import DynaIPError, InputError
from dynaip.images import load_image
from dynaip.judging.answers import STATES, Answer
from dynaip.judging.asking import Manner, ask_all
from dynaip.judging.estimate import Expense, estimate
from dynaip.judging.ledger import Ledger
from dynaip.judging.questions import Question, count, questions
from dynaip.judging.rubric import HIGHEST, Rubric, read_rubric
from dynaip.notes import tell
from dynaip.plain import name_from, one_plain_line

from .config import VlmConfig


class VlmMetric(Metric):
    """Asks one judge about every case."""

    def __init__(self, config: VlmConfig) -> None:
        self.config = config
        pairwise = config.against is not None
        self.rubrics = [read_rubric(_pairwise(name) if pairwise else name) for name in config.rubrics]
        for rubric in self.rubrics:
            if (rubric.answer == "choice") != pairwise:
                wanted = (
                    "compares two pictures: name the other arm's with against"
                    if not pairwise
                    else "judges one picture alone"
                )
                raise InputError(f"metric vlm: rubric {rubric.name} {wanted}")
        names = [f"{config.prefix}{_column(rubric)}" for rubric in self.rubrics]
        self.names = dict(zip((rubric.name for rubric in self.rubrics), names))
        self.columns = tuple(column for name in names for column in (name, f"{name}_answered"))
        self.judge: Any = self._judge()
        where = getattr(self.judge, "address", "local").partition("://")[2] or "local"
        self.ledger = Ledger(config.records / f"{name_from(f'{config.model}-{where}', 'judge')}.jsonl")

    def _judge(self) -> Any:
        if self.config.where == "local":
            from .local import Local

            return Local(self.config)
        from .endpoint import Endpoint

        return Endpoint(self.config)

    def to(self, device: Any) -> VlmMetric:
        """Move a local judge."""
        if self.config.where == "local":
            self.judge.to(device)
        return self

    def estimate(self, cases: Sequence[Case]) -> str:
        """Calls, tokens and money, in one line."""
        return f"{self.config.model}: {self._estimate(cases).words()}"

    def _estimate(self, cases: Sequence[Case]) -> Expense:
        earlier = self.ledger.read().answers()
        return estimate(self.rubrics, cases, repeats=self.config.repeats, prices=self.config.prices, earlier=earlier)

    def score(self, cases: Sequence[Case], images: Sequence[Image.Image]) -> list[dict[str, float]]:
        """Ask what is not answered yet, then give the means of each case's answers."""
        others = [self._other(case) for case in cases] if self.config.against is not None else None
        asked = list(
            questions(self.rubrics, cases, images, repeats=self.config.repeats, size=self.config.size, others=others)
        )
        if self.config.replay:
            self.ledger.read()
        else:
            with self.ledger.open():
                self._ask(cases, asked)
        return self._scores(asked, len(cases))

    def _other(self, case: Case) -> Image.Image:
        assert self.config.against is not None
        folder = self.config.against / "samples"
        folder = folder if folder.is_dir() else self.config.against
        path = folder / case.id / f"{case.seed}.png"
        if not path.is_file():
            raise InputError(f"metric vlm: {path} is missing: against names a run, or a folder with <case>/<seed>.png")
        return load_image(path)

    def _ask(self, cases: Sequence[Case], asked: Sequence[Question]) -> None:
        config, keys = self.config, [question.key(self.judge.identity) for question in asked]
        missing = {key for key in keys if self.ledger.get(key) is None}
        if not missing:
            return
        expected = self._estimate(cases)
        share = len(missing) / max(count(self.rubrics, cases, config.repeats), 1)
        if config.max_cost is not None and (expected.money or 0) * share > config.max_cost:
            raise InputError(
                f"metric vlm: about {(expected.money or 0) * share:.2f} is needed and max_cost allows {config.max_cost:g}: "
                "raise it, or lower --limit"
            )
        self.judge.prepare()
        print(one_plain_line(f"{config.model} judges: {len(missing)} questions of {expected.words()}"), file=sys.stderr)
        manner = Manner(
            concurrency=1 if config.where == "local" else config.concurrency, tries=config.tries, pause=config.pause,
            seed=config.seed, max_calls=config.max_calls, max_cost=config.max_cost, prices=config.prices,
        )  # fmt: skip
        with _progress(f"{config.model} judges") as on_answer:
            ask_all(self.judge, asked, self.ledger, manner, on_answer)

    def _scores(self, asked: Sequence[Question], cases: int) -> list[dict[str, float]]:
        found = [(question, self.ledger.last(question.key(self.judge.identity))) for question in asked]
        for rubric in self.rubrics:
            self._check(rubric, [answer for question, answer in found if question.rubric.name == rubric.name])
        by_place: dict[tuple[int, str], list[float | None]] = {}
        for question, answer in found:
            score = answer.score if answer else None
            whole = 1 if question.rubric.answer == "choice" else HIGHEST
            column = self.names[question.rubric.name]
            by_place.setdefault((question.place, column), []).append(None if score is None else score / whole)
        return [
            {
                column: value
                for name in self.names.values()
                for column, value in _cell(name, by_place.get((place, name), []))
            }
            for place in range(cases)
        ]

    def _check(self, rubric: Rubric, answers: Sequence[Answer | None]) -> None:
        states = Counter(answer.state if answer else "never asked" for answer in answers)
        if states["answered"] == len(answers):
            return
        counts = ", ".join(f"{states[state]} {state}" for state in (*STATES[1:], "never asked") if states[state])
        line = f"metric vlm: {rubric.name} is answered for {states['answered']} of {len(answers)} questions ({counts})"
        if states["answered"] < self.config.coverage * len(answers):
            again = (
                "take replay away to ask them"
                if self.config.replay
                else "failed ones are asked again by the same command"
                if states["failed"] or states["never asked"]
                else "these answers are kept, so change how is asked (structured, max_tokens, rubrics), or lower coverage"
            )
            raise DynaIPError(
                f"{line}, and coverage asks for {self.config.coverage:.0%}: {again}; what was said is in {self.ledger.path}"
            )
        tell(line)


def _pairwise(name: str) -> str:
    return f"{name}_pairwise" if name in ("cp", "pf") else name


def _column(rubric: Rubric) -> str:
    return rubric.name.removesuffix("_pairwise") + ("_win" if rubric.answer == "choice" else "")


def _cell(name: str, scores: Iterable[float | None]) -> list[tuple[str, float]]:
    every = list(scores)
    known = [score for score in every if score is not None]
    mean = sum(known) / len(known) if known else float("nan")
    return [(name, mean), (f"{name}_answered", len(known) / len(every) if every else float("nan"))]


class _progress:
    """A bar on a terminal; it leaves nothing behind."""

    def __init__(self, text: str) -> None:
        from rich.console import Console
        from rich.progress import Progress

        console = Console(stderr=True)
        self.shown = Progress(console=console, transient=True, disable=not console.is_terminal)
        self.task = self.shown.add_task(text.replace("[", "("), total=None)

    def __enter__(self) -> Any:
        self.shown.start()
        return lambda done, total: self.shown.update(self.task, completed=done, total=total)

    def __exit__(self, *_: object) -> None:
        self.shown.stop()
