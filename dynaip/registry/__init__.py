"""The registry: which components there are, who brings them, and how one is built.

A plugin is a module with one hook that returns data::

    from dynaip.registry import Component, hookimpl

    @hookimpl
    def dynaip_components():
        return [Component("fusion", "mine", "acme.model:Mine", "acme.config:MineConfig", "what it does")]

Nothing named by a component is imported before it is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from dynaip.registry.component import KINDS, Command, Component, Entry, Plugin, PluginFailure, hookimpl, hookspec
from dynaip.registry.registry import Registry

__all__ = [
    "KINDS",
    "Command",
    "Component",
    "Entry",
    "Plugin",
    "PluginFailure",
    "Registry",
    "hookimpl",
    "hookspec",
    "register",
    "registry",
]
Class = TypeVar("Class", bound=type)
_current: list[Registry] = []


def registry() -> Registry:
    """The registry of this process."""
    if not _current:
        _current.append(Registry())
    return _current[0]


def register(kind: str, name: str, *, config: type, summary: str = "") -> Callable[[Class], Class]:
    """Register the decorated class, in a notebook cell or a plugin file; running the cell again replaces it."""

    def decorate(target: Class) -> Class:
        registry().register(Component(kind, name, target, config, summary))
        return target

    return decorate
