"""YAML as people mean it: version 1.2 scalars, no duplicate keys, strings that know their file's folder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

import yaml

from dynaip.errors import ConfigError
from dynaip.registry.options import Located

# YAML 1.1, PyYAML's default, reads `off` as false, `2:10` as 130 and `1e-3` as a string; version 1.2 does not.
_SCALARS: tuple[tuple[str, str, str], ...] = (
    ("merge", r"<<", "<"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
)


def _add_scalars(owner: Any) -> None:
    for tag, pattern, first in _SCALARS:
        starts = ["" if letter == "\0" else letter for letter in first]
        owner.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"^(?:{pattern})$"), starts)


MAX_VALUES = 100_000
"""Values that a config may hold, those that aliases repeat counted each time."""


MAX_DEPTH = 64
"""Levels of lists and mappings within each other that a config may have."""


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # pyright: ignore[reportIncompatibleVariableOverride]
    folder: Path = Path()
    _sizes: dict[int, tuple[int, int]]

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Count what a node holds and how deep it goes: a few aliases of aliases could stand for more than memory holds."""
        alias = self.check_event(yaml.AliasEvent)  # pyright: ignore[reportUnknownMemberType]
        node: Any = super().compose_node(parent, index)  # pyright: ignore[reportUnknownMemberType]
        sizes = self.__dict__.setdefault("_sizes", {})
        if alias and id(node) not in sizes:
            raise ConfigError(f"line {node.start_mark.line + 1}: this holds an alias of itself")
        if id(node) not in sizes:
            values: Any = getattr(node, "value", None)
            parts: list[Any] = list(values) if isinstance(values, list) else []
            flat = [each for part in parts for each in (part if isinstance(part, tuple) else (part,))]
            inside = [sizes.get(id(each), (1, 1)) for each in flat]
            sizes[id(node)] = 1 + sum(size for size, _ in inside), 1 + max((depth for _, depth in inside), default=0)
        size, depth = sizes[id(node)]
        if size > MAX_VALUES or depth > MAX_DEPTH:
            much = f"{MAX_VALUES} values" if size > MAX_VALUES else f"{MAX_DEPTH} levels of lists and mappings"
            raise ConfigError(f"line {node.start_mark.line + 1}: more than {much}, aliases counted each time")
        return node


class _Dumper(yaml.SafeDumper):
    """Quotes whatever either version of YAML would read as something else than a string."""


_add_scalars(_Loader)
_add_scalars(_Dumper)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[str, Any]:
    seen: set[str] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise ConfigError(f"line {key.start_mark.line + 1}: a key is a word, and this one is a list or a mapping")
        if key.value in seen and key.value != "<<":
            raise ConfigError(f"line {key.start_mark.line + 1}: key {key.value!r} stands there twice")
        seen.add(str(key.value))
    loader.flatten_mapping(node)
    # Keys are words as they are written: 1, null and true name an option no less than others.
    return {str(key.value): loader.construct_object(value, deep=True) for key, value in node.value}


def _string(loader: _Loader, node: yaml.ScalarNode) -> str:
    return Located(str(node.value), loader.folder)


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = str(node.value)
    return int(text, 0) if re.match(r"0[ox]", text) else int(text)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
_Loader.add_constructor("tag:yaml.org,2002:str", _string)
_Loader.add_constructor("tag:yaml.org,2002:int", _integer)
_Dumper.add_representer(Located, lambda dumper, value: dumper.represent_str(str(value)))
_Dumper.add_representer(list, lambda dumper, value: _list(dumper, value))


def parse(text: str, *, origin: str, folder: Path) -> Any:
    """Parse YAML text; ``ConfigError`` names ``origin`` and the line. Relative paths belong to ``folder``."""
    try:
        loader: Any = _Loader(text)
        loader.folder = folder
        return loader.get_single_data()
    except ConfigError as error:
        raise ConfigError(f"{origin}: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{origin}: {_explain(error)}") from error
    except RecursionError as error:
        raise ConfigError(f"{origin}: nested too deeply") from error
    except ValueError as error:  # a number of thousands of digits
        raise ConfigError(f"{origin}: {error}") from error


def _explain(error: yaml.YAMLError) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return where + " ".join(f"this is not YAML: {problem or error}".split())


def read(path: Path, folder: Path | None = None) -> dict[str, Any]:
    """Read a YAML file that holds a mapping; ``ConfigError`` in one line if it does not.

    Relative paths in it belong to ``folder``, by default the file's own.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is no UTF-8 text'}"
        ) from error
    data = parse(text, origin=str(path), folder=folder or path.resolve().parent)
    if not isinstance(data, dict):
        kind = "empty" if data is None else f"a {type(data).__name__}"
        raise ConfigError(f"{path}: a config is a mapping of keys to values, and this is {kind}")
    return {str(key): value for key, value in data.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def dump(data: Any) -> str:
    """Write plain data as YAML: keys in the given order, one a line, short lists in one line."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, default_flow_style=False, width=100, allow_unicode=True)


def one_liner(data: Any) -> str:
    """Write plain data as YAML in one line."""
    text = yaml.dump(data, Dumper=_Dumper, sort_keys=False, default_flow_style=True, width=1_000_000)
    return text.removesuffix("\n").removesuffix("\n...")


def _list(dumper: _Dumper, value: list[Any]) -> yaml.Node:
    short = not any(isinstance(each, dict | list) for each in value)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=True if short else None)
