"""The plain bases of every config: what a component's own config derives from. Validation alone, nothing is looked up."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Protocol, Self, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator


class Located(str):
    """A string from a config file; ``folder`` is what a relative path in it is relative to."""

    folder: Path

    def __new__(cls, value: str, folder: Path) -> Located:
        located = super().__new__(cls, value)
        located.folder = folder
        return located

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)  # in copies and other processes it is a plain string


class Strict(BaseModel):
    """Immutable, and refuses keys that it does not know."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_default=True,
        protected_namespaces=(),
        allow_inf_nan=False,
        use_attribute_docstrings=True,
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

    def widened(self, hidden: int) -> Self | None:
        """Give the same fusion with hidden layers of this width, for parameter matching; None (the default) if it has none."""
        return None


class PolicyConfig(ComponentConfig):
    """The options of a decoupling policy."""

    def training_part(self) -> dict[str, Any]:
        """What training sees of the policy: two policies with the same part share a training."""
        return self.model_dump(mode="json")

    def served_by(self) -> list[dict[str, Any]]:
        """Other training parts whose adapter can serve this policy at inference."""
        return []


class Spec(Protocol):
    """A component and its options as data: all that building one takes."""

    @property
    def kind(self) -> str:
        """One of ``KINDS``."""
        ...

    @property
    def use(self) -> str:
        """Qualified name, e.g. ``builtin:hmoe``."""
        ...

    @property
    def config(self) -> ComponentConfig:
        """Its options."""
        ...


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
