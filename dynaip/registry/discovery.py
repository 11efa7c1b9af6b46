"""Finding plugins: entry points of installed distributions, and single files."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.metadata import EntryPoint, PackageNotFoundError, distribution, entry_points
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from dynaip.errors import InputError
from dynaip.paths import at_home, missing
from dynaip.version import __version__

GROUP = "dynaip"
"""The entry-point group of plugins."""


@dataclass(frozen=True)
class Found:
    """An entry point, and the distribution (name, version) that it belongs to."""

    entry_point: EntryPoint
    distribution: str
    version: str


def installed_plugins() -> list[Found]:
    """List the entry points of the group, those of our own distribution first, without loading any."""
    points = [(point, point.dist) for point in entry_points(group=GROUP)]
    found = [Found(point, dist.name if dist else "?", dist.version if dist else "?") for point, dist in points]
    if not any(each.distribution == GROUP for each in found):
        found += _checkout_plugins()
    return sorted(found, key=lambda each: (each.distribution != GROUP, each.distribution, each.entry_point.name))


def _checkout_plugins() -> list[Found]:
    """Read our own entry points from pyproject.toml where the checkout is used without being installed."""
    project = Path(__file__).parents[2] / "pyproject.toml"
    try:
        distribution(GROUP)
    except PackageNotFoundError:
        if project.is_file():
            import tomllib

            tables: dict[str, Any] = tomllib.loads(project.read_text(encoding="utf-8"))
            points: dict[str, str] = tables.get("project", {}).get("entry-points", {}).get(GROUP, {})
            return [Found(EntryPoint(name, value, GROUP), GROUP, __version__) for name, value in points.items()]
    return []


def version_problem(module: object) -> str | None:
    """Say why ``REQUIRES_DYNAIP`` of a plugin excludes this version; None if it does not."""
    required = getattr(module, "REQUIRES_DYNAIP", None)
    if required is None:
        return None
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        fits = SpecifierSet(str(required)).contains(__version__, prereleases=True)
    except InvalidSpecifier:
        return f"REQUIRES_DYNAIP = {required!r} is not a version specifier such as '>=0.1,<0.2'"
    return None if fits else f"needs dynaip {required}, and this is dynaip {__version__}"


def plugin_file(path: str | Path) -> Path:
    """Resolve the path of a plugin file; ``InputError`` if it is no Python file."""
    if "\0" in str(path):
        raise InputError(f"plugin file {path} does not exist: a path holds no null character")
    resolved = at_home(path).resolve()
    if not resolved.is_file():
        raise InputError(f"plugin file {path} does not exist.{missing(path)}")
    if resolved.suffix != ".py":
        raise InputError(f"plugin file {path} is not a Python file (.py)")
    return resolved


def digest(path: Path) -> str:
    """Fingerprint a file, so that an unchanged plugin file is not run twice."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def run_file(path: Path) -> ModuleType:
    """Run a plugin file as a module of its own; whatever it raises passes through."""
    name = f"dynaip_plugin_file_{path.stem}"
    spec = ModuleSpec(name, SourceFileLoader(name, str(path)), origin=str(path))
    spec.has_location = True
    module = module_from_spec(spec)
    previous = sys.modules.get(name)
    sys.modules[name] = module
    try:
        exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)  # not from a stale __pycache__
    except BaseException:
        sys.modules.pop(name) if previous is None else sys.modules.update({name: previous})
        raise
    return module
