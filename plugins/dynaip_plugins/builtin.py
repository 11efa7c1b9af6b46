"""The plugin of everything that ships: each component's folder says in its ``__init__.py`` what it holds.

``COMPONENT = Component(...)`` or ``COMPONENTS = (Component(...), ...)``; such an ``__init__.py`` imports nothing heavy.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable, Iterator
from importlib import import_module

import dynaip_plugins
from dynaip.registry import Component, hookimpl


@hookimpl
def dynaip_components() -> Iterable[Component]:
    """List the built-in components: those of every folder here and of the folders in it."""
    return [component for package in _packages(dynaip_plugins.__path__, "dynaip_plugins.", 2) for component in package]


def _packages(path: Iterable[str], prefix: str, depth: int) -> Iterator[list[Component]]:
    for found in pkgutil.iter_modules(path, prefix):
        if not found.ispkg:
            continue
        package = import_module(found.name)
        yield [*getattr(package, "COMPONENTS", ()), *([package.COMPONENT] if hasattr(package, "COMPONENT") else [])]
        if depth > 1:
            yield from _packages(package.__path__, f"{found.name}.", depth - 1)
