"""Configs of components: what a component's own config derives from, and how a config file names a component."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from dynaip.config.explain import Complaint, complaints, raised
from dynaip.config.yaml_text import Located
from dynaip.errors import InputError


class Strict(BaseModel):
    """Immutable, and refuses keys that it does not know."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, protected_namespaces=(), allow_inf_nan=False
    )


class ComponentConfig(Strict):
    """The options of a component; every component's config derives from it.

    Fields of type ``Path`` are made absolute: relative to the config file that gives them, otherwise to the
    working directory.
    """

    @field_validator("*", mode="before")
    @classmethod
    def _place_paths(cls, value: Any, info: ValidationInfo) -> Any:
        return _placed(value) if info.field_name in _path_fields(cls) else value

    def training_part(self) -> dict[str, Any]:
        """The options that change what training gives; by default all of them."""
        return self.model_dump(mode="json")


class PolicyConfig(ComponentConfig):
    """The options of a decoupling policy."""

    def training_part(self) -> dict[str, Any]:
        """What training sees of the policy: two policies with the same part share a training."""
        return self.model_dump(mode="json")

    def served_by(self) -> list[dict[str, Any]]:
        """Other training parts whose adapter can serve this policy at inference."""
        return []


@dataclass(frozen=True)
class ComponentSpec:
    """A component and its options, as a config names it: ``hmoe`` or ``{use: hmoe, router: token}``."""

    kind: str
    use: str
    """Qualified name, e.g. ``builtin:hmoe``."""
    config: ComponentConfig

    @property
    def name(self) -> str:
        """The plain name, for people."""
        return self.use.partition(":")[2]

    @classmethod
    def parse(cls, kind: str, raw: Any, path: str = "") -> ComponentSpec:
        """Read ``"name"`` or ``{use: name, **options}``; the ``InputError`` of a mistake begins with ``path``."""
        try:
            return TypeAdapter[ComponentSpec](Annotated[ComponentSpec, OfKind(kind)]).validate_python(raw)
        except ValidationError as error:
            found = [replace(each, path=(path or kind, *each.path)) for each in complaints(error, Strict)]
            raise raised(found) from error

    def dump(self) -> dict[str, Any]:
        """Give ``{use: qualified name, **all options}`` as plain data; ``parse`` reads it back."""
        return {"use": self.use, **self.config.model_dump(mode="json")}


@dataclass(frozen=True)
class OfKind:
    """Annotates a config field that names a component: ``Annotated[ComponentSpec, OfKind("fusion")]``."""

    kind: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            lambda raw: _parse(self.kind, raw),
            serialization=core_schema.plain_serializer_function_ser_schema(ComponentSpec.dump),
        )


def _parse(kind: str, raw: Any) -> ComponentSpec:
    if isinstance(raw, ComponentSpec):
        return raw
    from dynaip.registry import registry

    name, options = split(kind, raw)
    try:
        entry = registry().find(kind, name)
        model = registry().config_class(kind, entry.qualified)
    except InputError as error:
        raise _failed(Complaint((), str(error), type(error))) from error
    try:
        config = model.model_validate(options)
    except ValidationError as error:
        raise _failed(*complaints(error, model)) from error
    return ComponentSpec(kind, entry.qualified, config)


def _failed(*found: Complaint) -> PydanticCustomError:
    return PydanticCustomError("component", "a component's config is wrong", {"complaints": found})


def split(kind: str, raw: Any) -> tuple[str, dict[str, Any]]:
    """Split what a config says of a component into its name and its options."""
    if isinstance(raw, str):
        return str(raw), {}
    if isinstance(raw, Mapping) and isinstance(raw.get("use"), str):  # pyright: ignore[reportUnknownMemberType]
        options: dict[str, Any] = {str(key): value for key, value in raw.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        return str(options.pop("use")), options
    raise _failed(Complaint((), f"write the name of a {kind}, or {{use: NAME, option: value}}, instead of {raw!r}"))


@cache
def _path_fields(cls: type[BaseModel]) -> frozenset[str]:
    return frozenset(name for name, field in cls.model_fields.items() if _mentions_path(field.annotation))


def _mentions_path(annotation: Any) -> bool:
    return annotation is Path or any(_mentions_path(each) for each in get_args(annotation))


def _placed(value: Any) -> Any:
    if isinstance(value, (str, Path)):
        folder = value.folder if isinstance(value, Located) else Path.cwd()
        return folder / Path(value).expanduser()
    if isinstance(value, list | tuple):
        return [_placed(each) for each in value]  # pyright: ignore[reportUnknownVariableType]
    return value
