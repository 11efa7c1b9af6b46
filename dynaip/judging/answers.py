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
_FENCE = re.compile(r"^\s*```(?:json)?\s*(.*?)\s*```\s*$", re.DOTALL)


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
    fenced = _FENCE.match(text)
    try:
        found: Any = json.loads(fenced[1] if fenced else text)
    except (ValueError, RecursionError):
        return ("refused", None, text[:200]) if _SORRY.match(text) else ("malformed", None, "no JSON")
    if not isinstance(found, dict) or kind not in found:
        return "malformed", None, f"JSON without {kind}"
    fields = cast("dict[str, Any]", found)
    value, why = fields[kind], str(fields.get("reason", ""))[:2000]
    if kind == "choice":
        if value not in CHOICES:
            return "malformed", None, f"choice {str(value)[:40]!r} is none of {', '.join(CHOICES)}"
        own = "second" if swapped else "first"
        return "answered", 0.5 if value == "tie" else float(value == own), why
    if type(value) is not int or not 0 <= value <= HIGHEST:
        return "malformed", None, f"score {str(value)[:40]!r} is no whole number from 0 to {HIGHEST}"
    return "answered", float(value), why
