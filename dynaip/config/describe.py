"""The options of a config class in words."""

from __future__ import annotations

from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from dynaip.config.yaml_text import one_liner


@dataclass(frozen=True)
class Option:
    """One option of a component."""

    name: str
    type: str
    default: str
    text: str


def describe(model: type[BaseModel], prefix: str = "") -> list[Option]:
    """List the options of a config class in the order of its source; those of a model inside as ``outer.inner``."""
    options: list[Option] = []
    for name, field in model.model_fields.items():
        text = " ".join((field.description or "").split())
        inside = field.annotation if isinstance(field.annotation, type) else None
        if inside is not None and issubclass(inside, BaseModel):
            options.append(Option(prefix + name, "options", "", text))
            options += describe(inside, f"{prefix}{name}.")
        else:
            options.append(Option(prefix + name, type_words(field.annotation) + _bounds(field), _default(field), text))
    return options


def type_words(annotation: Any) -> str:
    """Write a type as one would say it: ``Literal["a", "b"]`` is ``a | b``."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " | ".join(map(str, inner))
    if origin in (Union, UnionType):
        return " | ".join(dict.fromkeys(map(type_words, inner)))
    if annotation is NoneType:
        return "null"
    if inner and hasattr(annotation, "__metadata__"):
        return type_words(inner[0])
    if inner:
        words = ", ".join(type_words(each) for each in inner if each is not Ellipsis)
        return f"{getattr(origin, '__name__', str(origin))}[{words}]"
    return getattr(annotation, "__name__", str(annotation))


def _bounds(field: FieldInfo) -> str:
    signs = (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"))
    limits = [(sign, getattr(each, name, None)) for each in field.metadata for name, sign in signs]
    words = " and ".join(f"{sign} {value}" for sign, value in limits if value is not None)
    return f" {words}" if words else ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    return one_liner(to_jsonable_python(field.get_default(call_default_factory=True, validated_data={})))
