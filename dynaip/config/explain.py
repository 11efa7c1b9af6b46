"""Validation errors in plain words: where, what is allowed, which option was probably meant."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import NoneType, UnionType
from typing import Any, Union, cast, get_args, get_origin

from pydantic import BaseModel, ValidationError

from dynaip.errors import ConfigError, InputError
from dynaip.suggest import did_you_mean, nearest

Path = tuple[str | int, ...]


MISSPELT, WRONG, MISSING = range(3)
"""Which complaints come first: a misspelt name is often why another one is missing."""


@dataclass(frozen=True)
class Complaint:
    """One thing wrong with a config."""

    path: Path
    text: str
    error: type[InputError] = ConfigError
    rank: int = WRONG
    origin: str = ""

    @property
    def line(self) -> str:
        """Origin, YAML path, what to change."""
        return ": ".join(part for part in (self.origin, dotted(self.path), self.text) if part)


def complaints(error: ValidationError, model: type[BaseModel]) -> list[Complaint]:
    """List what is wrong, with the complaints of components inside at their own paths."""
    found: dict[Path, Complaint] = {}
    for each in error.errors(include_url=False):
        inner = cast("Sequence[Complaint]", each.get("ctx", {}).get("complaints", ()))
        for deep in inner or [_complaint(cast("Mapping[str, Any]", each), model)]:
            path = (*_plain_path(model, each["loc"]), *deep.path)
            if path not in found:
                found[path] = replace(deep, path=path)
            elif deep.text not in found[path].text:  # of several types that a value may have, it fits none
                found[path] = replace(found[path], text=f"{found[path].text}; or {deep.text}")
    return list(found.values())


def _complaint(each: Mapping[str, Any], model: type[BaseModel]) -> Complaint:
    text = _words(each, model)
    ranks = {
        "extra_forbidden": MISSPELT,
        "literal_error": MISSPELT if "Did you mean" in text else WRONG,
        "missing": MISSING,
    }
    return Complaint((), text, rank=ranks.get(each["type"], WRONG))


def raised(found: Sequence[Complaint]) -> InputError:
    """Make one error of all complaints, a line each, misspelt names first."""
    ordered = sorted(found, key=lambda each: each.rank)
    lines = list(dict.fromkeys(each.line for each in ordered))
    kinds = {each.error for each in found}
    error = (ordered[0].error if len(kinds) == 1 else ConfigError)("\n".join(lines))
    error.complaints = tuple(ordered)
    return error


@contextmanager
def explained(model: type[BaseModel], origin: str = "") -> Generator[None]:
    """Turn a ``ValidationError`` of ``model`` raised within into an ``InputError`` whose lines begin with ``origin``."""
    try:
        yield
    except ValidationError as error:
        raise raised([replace(each, origin=origin) for each in complaints(error, model)]) from error


class Together:
    """Gathers the complaints about several parts of a config, so that all are told at once."""

    def __init__(self) -> None:
        self.found: list[Complaint] = []

    @contextmanager
    def part(self) -> Generator[None]:
        """Keep the complaints raised within for ``tell``; other errors pass."""
        try:
            yield
        except InputError as error:
            if not error.complaints:
                raise
            self.found += cast("Sequence[Complaint]", error.complaints)

    def tell(self) -> None:
        """Raise what was gathered, if anything was."""
        if self.found:
            raise raised(self.found)


def dotted(path: Path) -> str:
    """Write a path as people do: ``evaluation.metrics[0].use``."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")


def _words(each: Mapping[str, Any], model: type[BaseModel]) -> str:
    kind, value, context = each["type"], each.get("input"), each.get("ctx", {})
    if kind == "extra_forbidden":
        here, name = _at(model, each["loc"][:-1]), str(each["loc"][-1])
        options = list(here.model_fields)
        near = did_you_mean(name, options) or did_you_mean_inside(name, here)
        return f"there is no option {name!r} here.{near} Options: {', '.join(options) or 'none'}."
    if kind == "missing":
        return "this option is missing and has no default"
    if kind == "literal_error":
        allowed = str(context["expected"])
        near = did_you_mean(str(value), [word.strip("'") for word in allowed.replace(" or ", ", ").split(", ")])
        return f"must be {allowed}, not {_shown(value)}.{near}".rstrip(".")
    if kind == "value_error":
        return str(context["error"])
    return f"{str(each['msg'])[:1].lower()}{str(each['msg'])[1:]}, not {_shown(value)}"


def did_you_mean_inside(name: str, model: type[BaseModel]) -> str:
    """Like ``did_you_mean``, for an option that stands one level too high: its section is named."""
    inside = {section: _model_in(field.annotation) for section, field in model.model_fields.items()}
    homes = {leaf: section for section, each in inside.items() if each for leaf in each.model_fields}
    near = [f"{homes[leaf]}.{leaf}" for leaf in nearest(name, homes)]
    return f" Did you mean {' or '.join(near)}?" if near else ""


def _shown(value: object) -> str:
    plain = str(value) if isinstance(value, str) else value
    text = repr(plain)
    return text if len(text) <= 60 else text[:57] + "..."


def _plain_path(model: type[BaseModel], path: Path) -> Path:
    """Leave out the steps by which pydantic names the member of a union."""
    kept: list[str | int] = []
    inside: Any = model
    for step in path:
        members = [each for each in get_args(inside) if each is not NoneType]
        if len(members) > 1 and get_origin(inside) in (Union, UnionType):
            inside = None
            continue
        kept.append(step)
        field = (
            inside.model_fields.get(str(step)) if isinstance(inside, type) and issubclass(inside, BaseModel) else None
        )
        inside = field.annotation if field else (members[-1] if members else None)
    return tuple(kept)


def _at(model: type[BaseModel], path: Path) -> type[BaseModel]:
    """Follow a path through nested models; steps that lead through no model are passed over."""
    for step in path:
        field = model.model_fields.get(str(step))
        inside = _model_in(field.annotation) if field else None
        model = inside or model
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for each in get_args(annotation) if (found := _model_in(each))), None)
