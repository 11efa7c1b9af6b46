"""The plugin of the analyses: the folder of each question says in its ``__init__.py`` what it holds, as ``COMPONENT``."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable
from importlib import import_module

import dynaip_analysis
from dynaip.registry import Component, hookimpl


@hookimpl
def dynaip_components() -> Iterable[Component]:
    """List the report sections of every folder here; nothing heavy is imported."""
    folders = [
        found.name for found in pkgutil.iter_modules(dynaip_analysis.__path__, "dynaip_analysis.") if found.ispkg
    ]
    packages = [import_module(name) for name in folders]
    return [package.COMPONENT for package in packages if hasattr(package, "COMPONENT")]
