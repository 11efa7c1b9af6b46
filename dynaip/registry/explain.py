"""Validation errors in plain words: where, what is allowed, which option was probably meant."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast, get_args

from pydantic import BaseModel, ValidationError

from dynaip.errors import ConfigError, InputError
from dynaip.suggest import did_you_mean

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Complaint:
    """One thing wrong with a config."""

    path: Path
    text: str
    error: type[InputError] = ConfigError


def complaints(error: ValidationError, model: type[BaseModel]) -> list[Complaint]:
    """List what is wrong, with the complaints of components inside at their own paths."""
    found: list[Complaint] = []
    for each in error.errors(include_url=False):
        inner = cast("Sequence[Complaint]", each.get("ctx", {}).get("complaints", ()))
        if inner:
            found += [Complaint((*each["loc"], *deep.path), deep.text, deep.error) for deep in inner]
        else:
            found.append(Complaint(each["loc"], _words(cast("Mapping[str, Any]", each), model)))
    return found


def raised(found: Sequence[Complaint], origin: str = "") -> InputError:
    """Make the error of the first complaint, in one line: origin, YAML path, what to change."""
    first = found[0]
    parts = [part for part in (origin, dotted(first.path), first.text) if part]
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return first.error(": ".join(parts) + more)


@contextmanager
def explained(model: type[BaseModel], origin: str = "") -> Generator[None]:
    """Turn a ``ValidationError`` of ``model`` raised within into an ``InputError`` that begins with ``origin``."""
    try:
        yield
    except ValidationError as error:
        raise raised(complaints(error, model), origin) from error


def dotted(path: Path) -> str:
    """Write a path as people do: ``evaluation.metrics[0].use``."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")


def _words(each: Mapping[str, Any], model: type[BaseModel]) -> str:
    kind, value, context = each["type"], each.get("input"), each.get("ctx", {})
    if kind == "extra_forbidden":
        options = list(_at(model, each["loc"][:-1]).model_fields)
        name = str(each["loc"][-1])
        return (
            f"there is no option {name!r} here.{did_you_mean(name, options)} Options: {', '.join(options) or 'none'}."
        )
    if kind == "missing":
        return "this option is missing and has no default"
    if kind == "literal_error":
        allowed = str(context["expected"])
        near = did_you_mean(str(value), [word.strip("'") for word in allowed.replace(" or ", ", ").split(", ")])
        return f"must be {allowed}, not {_shown(value)}.{near}".rstrip(".")
    if kind == "value_error":
        return str(context["error"])
    return f"{str(each['msg'])[:1].lower()}{str(each['msg'])[1:]}, not {_shown(value)}"


def _shown(value: object) -> str:
    plain = str(value) if isinstance(value, str) else value
    text = repr(plain)
    return text if len(text) <= 60 else text[:57] + "..."


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
