"""What raters' answers say: strengths of arms with intervals, agreement of raters, and who did not look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from dynaip.errors import InputError
from dynaip.notes import tell
from dynaip.reading import mapping
from dynaip.statistics.agreement import DRAWS, Figure, alpha, over_units
from dynaip.statistics.comparisons import holm
from dynaip.statistics.intervals import Floats
from dynaip.statistics.preferences import Preference, Ranking, rank

ENDINGS = (".json", ".txt")
"""Of raters' files: the page offers a file, and its text to copy."""
SHARES = {"a": 1.0, "b": 0.0, "tie": 0.5}


@dataclass(frozen=True)
class Opinion:
    """What is said on one question."""

    question: str
    raters: int
    answers: int
    ranking: Ranking
    p_holm: list[float]
    """P-values of the ranking's duels, adjusted for their number on this question."""
    agreement: Figure
    """Krippendorff's alpha (nominal) of raters over pairs."""

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        duels = [{**asdict(duel), "p_holm": p} for duel, p in zip(self.ranking.duels, self.p_holm, strict=True)]
        strengths = [asdict(each) for each in self.ranking.strengths]
        about = {"question": self.question, "raters": self.raters, "answers": self.answers}
        return {**about, "strengths": strengths, "duels": duels, "agreement": asdict(self.agreement)}


@dataclass(frozen=True)
class Answers:
    """One rater's file, as far as it belongs to the study."""

    rater: str
    choices: Mapping[tuple[str, str], str]
    """Pair and question -> a, b or tie."""


def read_answers(folder: Path, key: Mapping[str, Any], missed: int = 0) -> list[Answers]:
    """Raters' files in a folder (json, or the same text as txt), one a rater; what is left out or unfinished is told.

    Left out are files of another study, damaged ones, those without an answer, and inattentive raters.
    ``missed`` is how many checks a rater may answer wrongly. Raises ``InputError`` if nobody is left.
    """
    found: dict[str, Answers] = {}
    for path in sorted(each for each in folder.glob("*") if each.suffix.lower() in ENDINGS):
        try:
            answers = _read(path, key)
        except InputError as error:
            tell(f"{error}; it is left out")
            continue
        if answers is None:
            continue
        if answers.rater in found:
            tell(f"{path.name}: {answers.rater} answered twice; the first file counts")
            continue
        pairs = key["pairs"]
        _tell_unfinished(path, answers, key)
        wrong = sum(pairs[pair]["check"] and choice != "a" for (pair, _), choice in answers.choices.items())
        if wrong > missed:
            tell(f"{path.name}: {answers.rater} answered {wrong} attention checks wrongly and is left out")
            continue
        found[answers.rater] = answers
    if not found:
        raise InputError(f"{folder} holds no answers to this study: put the raters' JSON files there")
    return list(found.values())


def _tell_unfinished(path: Path, answers: Answers, key: Mapping[str, Any]) -> None:
    """A rater may stop at any time; what there is counts, and how much it is has to be known."""
    checks = [pair for pair, about in key["pairs"].items() if about["check"]]
    real = (len(key["pairs"]) - len(checks)) * len(key["questions"])
    given = {pair for pair, _ in answers.choices}
    done = sum(pair not in checks for pair, _ in answers.choices)
    if done < real:
        tell(f"{path.name}: {answers.rater} answered {done} of {real} questions; they count")
    if checks and not given & set(checks):
        tell(
            f"{path.name}: {answers.rater} met no attention check, so nothing says whether they looked; their answers count"
        )


def _read(path: Path, key: Mapping[str, Any]) -> Answers | None:
    """A file's answers; None for a file that is the key itself, or another thing."""
    raw = mapping(path)
    if "answers" not in raw:
        return None
    if raw.get("study") != key["study"]:
        raise InputError(f"{path.name} answers another study")
    choices: dict[tuple[str, str], str] = {}
    entries: Any = raw["answers"]
    if not isinstance(entries, list) or not entries:
        raise InputError(f"{path.name} holds no answers")
    for entry in cast("list[Any]", entries):
        each = cast("dict[str, Any]", entry) if isinstance(entry, dict) else {}
        pair, question, choice = (str(each.get(name)) for name in ("pair", "question", "choice"))
        if pair not in key["pairs"] or question not in key["questions"] or choice not in SHARES:
            raise InputError(f"{path.name} is damaged: an answer names no pair, question or choice of the study")
        if choices.setdefault((pair, question), choice) != choice:
            raise InputError(f"{path.name} is damaged: it answers one question in two ways")
    return Answers(str(raw.get("rater") or path.stem), choices)


def outcomes(raters: Sequence[Answers], key: Mapping[str, Any], *, draws: int = DRAWS, seed: int = 0) -> list[Opinion]:
    """Every question's outcome; checks count for nothing."""
    return [_outcome(str(question), raters, key["pairs"], draws, seed) for question in key["questions"]]


def _outcome(
    question: str, raters: Sequence[Answers], pairs: Mapping[str, Mapping[str, Any]], draws: int, seed: int
) -> Opinion:
    asked = [name for name, about in pairs.items() if not about["check"]]
    given = [
        Preference(each.rater, pairs[pair]["a"], pairs[pair]["b"], SHARES[choice], pairs[pair]["case"])
        for each in raters
        for (pair, about), choice in each.choices.items()
        if about == question and not pairs[pair]["check"]
    ]
    ranking = rank(given, draws=draws, seed=seed)
    table: Floats = np.array(
        [[SHARES.get(each.choices.get((pair, question), ""), np.nan) for pair in asked] for each in raters]
    )
    agreement = over_units(lambda at: alpha(table[:, at], "nominal"), len(asked), draws=draws, seed=seed)
    adjusted = holm([duel.p for duel in ranking.duels])
    return Opinion(question, len({each.rater for each in given}), len(given), ranking, adjusted, agreement)
