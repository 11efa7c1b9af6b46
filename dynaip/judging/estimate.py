"""What judging will take, before anything is asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dynaip.contracts import Case
from dynaip.judging.answers import Answer
from dynaip.judging.questions import count
from dynaip.judging.rubric import Rubric

LETTERS = 4
"""Letters of English in a token, about."""
WRITTEN = 120
"""Tokens of an answer with a brief reason, about."""


@dataclass(frozen=True)
class Expense:
    """Calls, tokens and money; money is None where no prices are given."""

    calls: int
    tokens_in: int
    tokens_out: int
    money: float | None
    measured: bool
    """Whether earlier answers of the judge told how many tokens a call takes."""

    def words(self) -> str:
        """One line."""
        cost = "no prices are given (prices)" if self.money is None else f"about {self.money:.2f} at the prices given"
        how = "as its earlier answers took" if self.measured else "roughly"
        return (
            f"{self.calls:,} calls, {how} {self.tokens_in:,} tokens in and {self.tokens_out:,} out, {cost}; "
            "answers that are kept already are not asked again"
        )


def estimate(
    rubrics: Sequence[Rubric],
    cases: Sequence[Case],
    *,
    repeats: int = 1,
    tokens_per_picture: int = 800,
    prices: tuple[float, float] | None = None,
    earlier: Iterable[Answer] = (),
) -> Expense:
    """Expense from the rubrics' length and the number of pictures, or from what ``earlier`` answers to a rubric took."""
    known: dict[str, list[Answer]] = {}
    for answer in earlier:
        if answer.tokens_in:
            known.setdefault(str(answer.about.get("rubric")), []).append(answer)
    calls, into, out = 0, 0.0, 0.0
    for rubric in rubrics:
        asked, past = count([rubric], cases, repeats), known.get(rubric.name, [])
        prompts = sum(len(case.prompt) for case in cases) / max(len(cases), 1)
        guess = (len(rubric.text) + prompts) / LETTERS + tokens_per_picture * len(rubric.pictures)
        calls += asked
        into += asked * (sum(each.tokens_in for each in past) / len(past) if past else guess)
        out += asked * (sum(each.tokens_out for each in past) / len(past) if past else WRITTEN)
    money = (into * prices[0] + out * prices[1]) / 1e6 if prices else None
    return Expense(calls, round(into), round(out), money, bool(rubrics) and all(each.name in known for each in rubrics))
