"""What a study asks: pairs of arms' pictures of one case, drawn evenly and blinded, and pairs that ask for attention alone."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Literal

from dynaip.errors import InputError
from dynaip.report.directory import AblationDirectory, ShownArm, ShownCase
from dynaip.suggest import did_you_mean

Asked = Literal["cp", "pf", "overall"]


@dataclass(frozen=True)
class Text:
    """A question as raters read it, and what they see beside the pictures."""

    text: str
    reference: bool
    prompt: bool


QUESTIONS: dict[Asked, Text] = {
    "cp": Text(
        "Which picture shows the subject of the small picture more faithfully (form, colours, marks)?", True, False
    ),
    "pf": Text("Which picture shows more of what was asked for?", False, True),
    "overall": Text("Which picture would you take, if it has to show this subject as asked for?", True, True),
}


@dataclass(frozen=True)
class Matchup:
    """Two pictures of one case; a check has no picture of an arm as ``b``, and ``a`` is the only sensible answer."""

    id: str
    case: ShownCase
    a: str
    b: str
    picture_a: Path
    picture_b: Path | None
    check: bool = False


def arms_of(directory: AblationDirectory, wanted: Sequence[str]) -> dict[str, ShownArm]:
    """Arms by name, the first seed of each; ``InputError`` for an arm that is not there, and below two arms."""
    known: dict[str, ShownArm] = {}
    for arm in directory.arms:
        if arm.scores or arm.samples.is_dir():
            known.setdefault(arm.name, arm)
    for name in wanted:
        if name not in known:
            raise InputError(
                f"{directory.path} has no arm {name}; there are {', '.join(known)}.{did_you_mean(name, known)}"
            )
    chosen = {name: known[name] for name in (wanted or known)}
    if len(chosen) < 2:
        raise InputError(
            f"{directory.path}: a study compares two arms at least, and {len(chosen)} with pictures is there"
        )
    return chosen


def draw_pairs(
    directory: AblationDirectory, arms: Mapping[str, ShownArm], count: int, *, checks: int = 3, seed: int = 0
) -> list[Matchup]:
    """``count`` pairs, every two arms as often as any other, each on cases of its own as far as there are; then the checks.

    Which of the two is ``a`` is drawn, and ids say nothing. Raises ``InputError`` if no case has pictures of two arms.
    """
    lot = random.Random(seed)
    free: dict[tuple[str, str], list[tuple[ShownCase, Path, Path]]] = {}
    for one, other in combinations(arms, 2):
        both = [(case, arms[one].image(case), arms[other].image(case)) for case in directory.cases]
        found = [(case, a, b) for case, a, b in both if a and b]
        lot.shuffle(found)
        free[one, other] = found
    pairs: list[Matchup] = []
    while len(pairs) < count and any(free.values()):
        for (one, other), left in free.items():
            if left and len(pairs) < count:
                used = {pair.case.id for pair in pairs}
                at = next((k for k, each in enumerate(left) if each[0].id not in used), 0)
                case, a, b = left.pop(at)
                name = _name(seed, case.id, one, other)
                turned = lot.random() < 0.5
                pairs.append(Matchup(name, case, other, one, b, a) if turned else Matchup(name, case, one, other, a, b))
    if not pairs:
        raise InputError(f"{directory.path}: no case has pictures of two of these arms")
    for k, pair in enumerate(lot.sample(pairs, min(checks, len(pairs)))):
        pairs.append(
            Matchup(
                _name(seed, pair.case.id, "check", str(k)), pair.case, "picture", "noise", pair.picture_a, None, True
            )
        )
    return pairs


def _name(seed: int, *parts: str) -> str:
    return hashlib.sha256("\0".join([str(seed), *parts]).encode()).hexdigest()[:12]
