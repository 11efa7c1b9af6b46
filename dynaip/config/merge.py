"""Laying one config over another, and single values over a config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from dynaip.config.yaml_text import MAX_DEPTH, parse
from dynaip.errors import ConfigError

COMPONENTS = frozenset(
    {"backbone", "encoder", "fusion", "decoupling", "source", "training.validation.source", "evaluation.benchmark"}
)
"""Paths of an experiment that hold a component."""
SECTIONS = frozenset({"", "adapter", "training", "training.validation", "evaluation"})
"""Paths of an experiment that hold named options; values below are replaced whole."""


def merge(base: Mapping[str, Any], over: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Lay ``over`` on ``base``: option by option, except that another component brings its own options."""
    merged = dict(base)
    for key, value in over.items():
        merged[key] = _laid(merged.get(key), value, f"{path}.{key}" if path else key)
    return merged


def _laid(below: Any, above: Any, path: str) -> Any:
    if path in COMPONENTS:
        return _component_laid(as_mapping(below), as_mapping(above))
    if path in SECTIONS and isinstance(below, Mapping) and isinstance(above, Mapping):
        return merge(cast("Mapping[str, Any]", below), cast("Mapping[str, Any]", above), path)
    return above


def _component_laid(below: Any, above: Any) -> Any:
    if not (isinstance(below, Mapping) and isinstance(above, Mapping)):
        return above
    old, new = cast("Mapping[str, Any]", below), cast("Mapping[str, Any]", above)
    if "use" in new and not same_name(str(old.get("use", "")), str(new["use"])):
        return new
    merged = {**old, **new}
    if ":" in str(old.get("use", "")):
        merged["use"] = old["use"]  # a qualified name says more than a plain one
    return merged


def as_mapping(value: Any) -> Any:
    """Write out the short form of a component: ``hmoe`` is ``{use: hmoe}``."""
    return {"use": value} if isinstance(value, str) else value


def same_name(one: str, other: str) -> bool:
    """Whether two names can mean one component: qualified names differ only among themselves."""
    if ":" in one and ":" in other:
        return one == other
    return one.rpartition(":")[2] == other.rpartition(":")[2]


def override(config: Mapping[str, Any], path: str, value: Any, *, origin: str) -> dict[str, Any]:
    """Give a copy with the value at a dotted path replaced; mappings on the way are made, list items counted from 0."""
    steps = path.split(".")
    if not all(steps):
        raise ConfigError(f"{origin}: {path!r} is no path such as fusion.router")
    if len(steps) > MAX_DEPTH:
        raise ConfigError(f"{origin}: a path of {len(steps)} steps leads deeper than any config")
    changed = _set(config, steps, value, "", origin)
    return cast("dict[str, Any]", changed)


def _set(below: Any, steps: Sequence[str], value: Any, path: str, origin: str) -> Any:
    if not steps:
        return _laid(below, value, path)
    step, rest = steps[0], steps[1:]
    inner = f"{path}.{step}" if path else step
    if path in COMPONENTS:
        below = as_mapping(below)
        if step == "use":
            return _laid(below, {"use": value}, path)
    if isinstance(below, Sequence) and not isinstance(below, str):
        return _set_item(cast("Sequence[Any]", below), step, rest, value, inner, origin)
    if below is not None and not isinstance(below, Mapping):
        raise ConfigError(f"{origin}: {path} holds {below!r} and no options, so {inner} cannot be set")
    mapping = cast("Mapping[str, Any]", below or {})
    return {**mapping, step: _set(mapping.get(step), rest, value, inner, origin)}


def _set_item(items: Sequence[Any], step: str, rest: Sequence[str], value: Any, path: str, origin: str) -> list[Any]:
    if not step.isdigit() or int(step) >= len(items):
        raise ConfigError(f"{origin}: {path}: the list has items 0 to {len(items) - 1}, and {step!r} is none of them")
    index = int(step)
    item = items[index] if not rest or isinstance(items[index], Mapping) else as_mapping(items[index])
    return [*items[:index], _set(item, rest, value, path, origin), *items[index + 1 :]]


def overridden(raw: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Give a copy with every ``path=value`` of the command line laid over it, one after the other."""
    changed = dict(raw)
    for text in overrides:
        path, value = parse_override(text)
        changed = override(changed, path, value, origin=f"-s {text}")
    return changed


def parse_override(text: str) -> tuple[str, Any]:
    """Read ``path=value`` with the value as YAML; ``ConfigError`` if it is none."""
    path, equals, value = text.partition("=")
    if not equals or not path.strip():
        raise ConfigError(f"-s {text}: write path=value, for example -s training.steps=100")
    return path.strip(), parse(value, origin=f"-s {text}", folder=Path.cwd())
