"""What a judge said, and what it is worth: an answer, or the state that says why there is none. Nothing counts as 0."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, cast

from dynaip.judging.rubric import CHOICES, HIGHEST, Kind

State = Literal["answered", "refused", "malformed", "failed"]
STATES: tuple[State, ...] = ("answered", "refused", "malformed", "failed")
_SORRY = re.compile(
    r"^\W*(i'?m sorry|i am sorry|sorry|i can'?t|i cannot|i'?m unable|i am unable|i won'?t)\b", re.IGNORECASE
)


@dataclass(frozen=True)
class Reply:
    """What came back from a judge, raw."""

    text: str
    finish: str = ""
    """Why it ended: ``stop``, ``length``, ``content_filter``, …"""
    refusal: str = ""
    """What it said instead of an answer, where the protocol has a place for that."""
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Answer:
    """One kept answer."""

    key: str
    state: State
    score: float | None
    """0 to 4, or for a choice 1 (the case's own picture), 0 (the other one), 0.5 (tie); None in every other state."""
    why: str = ""
    """The judge's reason, or what is wrong."""
    raw: str = ""
    finish: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0
    tries: int = 1
    about: dict[str, Any] = field(default_factory=dict[str, Any])
    """Case, rubric, reference, repeat, judge: for people and tables; none of it decides which question this answers."""

    def row(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def understood(reply: Reply, kind: Kind, swapped: bool = False) -> tuple[State, float | None, str]:
    """State, score and reason of a reply; ``swapped``: the case's own picture was shown second."""
    if reply.refusal or reply.finish == "content_filter":
        return "refused", None, reply.refusal or "stopped by a content filter"
    text = reply.text.strip()
    if reply.finish == "length":
        return "malformed", None, "cut off: more tokens than max_tokens"
    every = _objects(text)
    verdicts = [each for each in every if kind in each]
    if len(verdicts) != 1:
        if not every and _SORRY.match(text):
            return "refused", None, text[:200]
        return "malformed", None, f"{len(verdicts)} JSON objects with {kind}" if every else "no JSON"
    fields = verdicts[0]
    value, why = fields[kind], str(fields.get("reason", ""))[:2000]
    if kind == "choice":
        if value not in CHOICES:
            return "malformed", None, f"choice {repr(value)[:40]} is none of {', '.join(CHOICES)}"
        own = "second" if swapped else "first"
        return "answered", 0.5 if value == "tie" else float(value == own), why
    if type(value) is not int or not 0 <= value <= HIGHEST:
        return "malformed", None, f"score {repr(value)[:40]} is no whole number from 0 to {HIGHEST}"
    return "answered", float(value), why


def _objects(text: str) -> list[dict[str, Any]]:
    """The JSON objects in a text, in order: models that nothing holds to a form write words or a fence around theirs.

    None where braces are not in pairs: an object that was cut off may hold a whole one that says something else.
    """
    found: list[dict[str, Any]] = []
    at = text.find("{") if text.count("{") == text.count("}") or _whole(text) else -1
    while at >= 0:
        try:
            value, end = json.JSONDecoder().raw_decode(text, at)
            found.append(cast("dict[str, Any]", value))
        except (ValueError, RecursionError):
            end = at + 1
        at = text.find("{", end)
    return found


def _whole(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False
