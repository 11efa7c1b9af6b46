"""The plugin of the analyses: each folder says in its ``__init__.py`` what it holds, as ``COMPONENT`` or ``COMMAND``."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable
from importlib import import_module
from typing import Any

import dynaip_analysis
from dynaip.registry import Command, Component, hookimpl


@hookimpl
def dynaip_components() -> Iterable[Component]:
    """List the report sections of every folder here; nothing heavy is imported."""
    return [package.COMPONENT for package in _packages() if hasattr(package, "COMPONENT")]


@hookimpl
def dynaip_commands() -> Iterable[Command]:
    """List the commands of every folder here, as addresses."""
    return [package.COMMAND for package in _packages() if hasattr(package, "COMMAND")]


def _packages() -> list[Any]:
    folders = [
        found.name for found in pkgutil.iter_modules(dynaip_analysis.__path__, "dynaip_analysis.") if found.ispkg
    ]
    return [import_module(name) for name in folders]
