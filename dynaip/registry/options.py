"""The plain bases of every config: what a component's own config derives from. Validation alone, nothing is looked up."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Protocol, Self, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator, model_validator

from dynaip.paths import at_home


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

    @model_validator(mode="before")
    @classmethod
    def _unwrap_numbers(cls, given: Any) -> Any:
        return _unwrapped(given)


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


class SourceConfig(ComponentConfig):
    """The options of a source whose targets have a size that can be chosen. (A source's config need not derive from it.)"""

    def target_size(self) -> tuple[int, int] | None:
        """Height and width of the targets in pixels; None if the config leaves that open."""
        return None

    def target_sizes(self) -> list[tuple[int, int]]:
        """Every (height, width) that a target may take, where there are several."""
        size = self.target_size()
        return [size] if size else []

    def sized(self, height: int, width: int) -> Self:
        """The same options with a size where the config leaves it open."""
        return self


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


def _unwrapped(value: Any) -> Any:
    """Turn numbers of numpy and torch into plain ones, which can be written and hashed; arrays become lists."""
    if isinstance(value, dict):
        return {key: _unwrapped(each) for key, each in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list):
        return [_unwrapped(each) for each in value]  # pyright: ignore[reportUnknownVariableType]
    return value.tolist() if hasattr(value, "dtype") and hasattr(value, "tolist") else value


@cache
def _path_fields(cls: type[BaseModel]) -> frozenset[str]:
    return frozenset(name for name, field in cls.model_fields.items() if _mentions_path(field.annotation))


def _mentions_path(annotation: Any) -> bool:
    return annotation is Path or any(_mentions_path(each) for each in get_args(annotation))


def _placed(value: Any) -> Any:
    if isinstance(value, (str, Path)):
        if "\0" in str(value):
            raise ValueError("a path holds no null character")
        folder = value.folder if isinstance(value, Located) else Path.cwd()
        return folder / at_home(value)
    if isinstance(value, list | tuple):
        return [_placed(each) for each in value]  # pyright: ignore[reportUnknownVariableType]
    return value
