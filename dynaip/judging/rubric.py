"""Rubrics: what a judge is asked, in files. Each begins with what pictures it is shown and how it answers."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, cast, get_args

import yaml

from dynaip.errors import InputError
from dynaip.suggest import did_you_mean, one_line

Shown = Literal["reference", "image", "first", "second"]
Kind = Literal["score", "choice"]
HIGHEST = 4
CHOICES = ("first", "second", "tie")


@dataclass(frozen=True)
class Rubric:
    """A question with its scale. ``{prompt}`` and ``{subject}`` in its text stand for the case's own."""

    name: str
    text: str
    pictures: tuple[Shown, ...]
    """What is shown, in order; with ``reference`` a case is asked once for each of its references."""
    answer: Kind
    """``score``: a whole number from 0 to 4; ``choice``: first, second or tie."""

    @property
    def schema(self) -> dict[str, Any]:
        """JSON schema of an answer."""
        score = {"type": "integer", "enum": list(range(HIGHEST + 1))}
        verdict = score if self.answer == "score" else {"type": "string", "enum": list(CHOICES)}
        fields = {"reason": {"type": "string"}, self.answer: verdict}
        return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}

    def words(self, prompt: str, subject: str) -> str:
        """The text for one case, with the form of the answer."""
        values = ", ".join(str(each) for each in self.schema["properties"][self.answer]["enum"])
        form = f'Answer with JSON alone: {{"reason": "…", "{self.answer}": …}}, where {self.answer} is one of {values}.'
        text = self.text.replace("{subject}", subject or "whatever it shows").replace("{prompt}", prompt)
        return f"{text.strip()}\n\n{form}"


def read_rubric(name: str | Path) -> Rubric:
    """A rubric that ships, by name, or a file; ``InputError`` in one line if there is none or it cannot be used."""
    shipped = {Path(each.name).stem: each for each in files("dynaip.judging").joinpath("rubrics").iterdir()}
    own = str(name) in shipped
    path = Path(str(name)).expanduser()
    if not own and not path.is_file():
        raise InputError(
            f"there is no rubric {name}: name {', '.join(sorted(shipped))}, or a file.{did_you_mean(str(name), shipped)}"
        )
    try:
        text = shipped[str(name)].read_text(encoding="utf-8") if own else path.read_text(encoding="utf-8")
        return _parsed(str(name) if own else path.stem, text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"rubric {name}: {one_line(error)}") from error


def _parsed(name: str, text: str) -> Rubric:
    before, _, rest = text.partition("---\n")
    head, found, body = rest.partition("\n---\n")
    about: Any = yaml.safe_load(head) if found and not before.strip() else None
    if not isinstance(about, dict) or set(cast("dict[str, Any]", about)) != {"pictures", "answer"}:
        raise ValueError(
            "it must begin with ---, then pictures: […] and answer: score or choice, then --- and the text"
        )
    pictures, answer = about["pictures"], about["answer"]
    allowed = get_args(Shown)
    if not isinstance(pictures, list) or not pictures or not set(cast("list[Any]", pictures)) <= set(allowed):
        raise ValueError(f"pictures: a list of {', '.join(allowed)}")
    if answer not in get_args(Kind) or not body.strip():
        raise ValueError("answer: score or choice; and a text has to follow")
    needed = {"first", "second"} if answer == "choice" else {"image"}
    shown = tuple(cast("list[Shown]", pictures))
    if not needed <= set(shown) or len({"image", "first"} & set(shown)) > 1:
        raise ValueError(f"answer: {answer} needs the pictures {', '.join(sorted(needed))}")
    return Rubric(name, body, shown, answer)
