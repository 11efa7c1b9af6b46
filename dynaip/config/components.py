"""How a config names a component: ``hmoe`` or ``{use: hmoe, router: token}``, looked up in the registry of this process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, TypeAdapter, ValidationError
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from dynaip.config.explain import MISSPELT, WRONG, Complaint, complaints, raised
from dynaip.errors import InputError, UnknownComponent
from dynaip.registry import registry
from dynaip.registry.options import ComponentConfig, Strict


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
    name, options = split(kind, raw)
    try:
        entry = registry().find(kind, name)
        model = registry().config_class(kind, entry.qualified)
    except InputError as error:
        rank = MISSPELT if isinstance(error, UnknownComponent) else WRONG
        raise _failed(Complaint((), str(error), type(error), rank)) from error
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
