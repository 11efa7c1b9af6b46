"""The plugin of everything that ships: each component's folder says in its ``__init__.py`` what it holds.

``COMPONENT = Component(...)`` or ``COMPONENTS = (Component(...), ...)``, and ``COMMAND = Command(...)`` for a command of
``dynaip``; such an ``__init__.py`` imports nothing heavy.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable, Iterator
from importlib import import_module
from types import ModuleType

import dynaip_plugins
from dynaip.registry import Command, Component, hookimpl


@hookimpl
def dynaip_components() -> Iterable[Component]:
    """List the built-in components: those of every folder here and of the folders in it."""
    for package in _packages(dynaip_plugins.__path__, "dynaip_plugins.", 2):
        yield from getattr(package, "COMPONENTS", ())
        if hasattr(package, "COMPONENT"):
            yield package.COMPONENT


@hookimpl
def dynaip_commands() -> Iterable[Command]:
    """List the commands that they bring."""
    packages = _packages(dynaip_plugins.__path__, "dynaip_plugins.", 2)
    return [package.COMMAND for package in packages if hasattr(package, "COMMAND")]


def _packages(path: Iterable[str], prefix: str, depth: int) -> Iterator[ModuleType]:
    for found in pkgutil.iter_modules(path, prefix):
        if not found.ispkg:
            continue
        package = import_module(found.name)
        yield package
        if depth > 1:
            yield from _packages(package.__path__, f"{found.name}.", depth - 1)
