"""The options of a config class in words."""

from __future__ import annotations

import ast
import inspect
import textwrap
from dataclasses import dataclass
from itertools import pairwise
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
    docs, options = _docstrings(model), list[Option]()
    for name, field in model.model_fields.items():
        text = field.description or docs.get(name, "")
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


def _docstrings(model: type[BaseModel]) -> dict[str, str]:
    """Read the strings that stand under the fields, of the class and those it derives from."""
    found: dict[str, str] = {}
    for owner in reversed(model.__mro__):
        if issubclass(owner, BaseModel) and owner is not BaseModel:
            found |= _strings_under_fields(owner)
    return found


def _strings_under_fields(owner: type) -> dict[str, str]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(owner)))
    except (OSError, TypeError, SyntaxError):
        return {}
    body = tree.body[0].body if tree.body and isinstance(tree.body[0], ast.ClassDef) else []
    return {
        field.target.id: " ".join(text.value.value.split())
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    }
