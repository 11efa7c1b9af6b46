"""What a plugin says of itself: components as addresses, and the one hook that lists them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import pluggy

from dynaip.errors import PluginError, UnknownComponent
from dynaip.registry.options import ComponentConfig, PolicyConfig
from dynaip.suggest import did_you_mean


@dataclass(frozen=True, slots=True)
class Kind:
    """What all components of one kind have in common."""

    contract: str
    """The class that a component fulfils, or where it is."""
    config: type[ComponentConfig] = ComponentConfig
    """What the component's own config derives from."""


KINDS: dict[str, Kind] = {
    "encoder": Kind("dynaip.contracts:VisualEncoder"),
    "fusion": Kind("dynaip.contracts:FeatureFusion"),
    "decoupling": Kind("dynaip.contracts:DecouplingPolicy", PolicyConfig),
    "backbone": Kind("dynaip.contracts:Backbone"),
    "source": Kind("dynaip.contracts:PairSource"),
    "benchmark": Kind("dynaip.contracts:Benchmark"),
    "metric": Kind("dynaip.contracts:Metric"),
    "segmenter": Kind("dynaip.contracts:Segmenter"),
    "executor": Kind("dynaip.contracts:Executor"),
    "report_section": Kind("dynaip.contracts:ReportSection"),
    "bundle": Kind("dynaip.contracts:Bundle"),
    "format": Kind("dynaip.contracts:AdapterFormat"),
}
"""Kind of component -> its contract and the base of its configs."""

Stage = Literal["import", "version", "hook", "build"]
Origin = Literal["installed", "file", "notebook"]

hookspec = pluggy.HookspecMarker("dynaip")
hookimpl = pluggy.HookimplMarker("dynaip")


@dataclass(frozen=True, slots=True)
class Component:
    """An address: where a component and its config are found. Importing it imports neither."""

    kind: str
    """One of ``KINDS``."""
    name: str
    target: str | type
    """The class, or where it is: ``"acme.encoders.model:AcmeEncoder"``."""
    config: str | type | None = None
    """The config class (a ``ComponentConfig``, importable without torch), or where it is; None if there are no options."""
    summary: str = ""
    extra: str | None = None
    """Extra of the plugin's distribution that brings the component's dependencies."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command of ``dynaip``, as an address. Its module is imported for ``--help``, so it imports nothing heavy."""

    name: str
    target: str | Callable[..., Any]
    """A typed function, or a Typer app with commands of its own, or where it is: ``"acme.command:app"``."""


class Hooks:
    """What a plugin can answer; it answers one of the two at least."""

    @hookspec
    def dynaip_components(self) -> Iterable[Component]:
        """List the plugin's components: data only, nothing heavy imported."""
        raise NotImplementedError

    @hookspec
    def dynaip_commands(self) -> Iterable[Command]:
        """List the commands that the plugin adds to ``dynaip``: data only, nothing heavy imported."""
        raise NotImplementedError


@dataclass(frozen=True)
class PluginFailure:
    """A plugin that did not work, and where; the others go on."""

    plugin: str
    stage: Stage
    error: str


@dataclass(frozen=True)
class Plugin:
    """Who brings components."""

    name: str
    version: str
    origin: Origin
    distribution: str | None = None
    """For the pip line of a missing dependency; None for files and notebook cells."""
    module: Any = None


@dataclass(frozen=True)
class Entry:
    """A component as the registry holds it."""

    component: Component
    plugin: str
    version: str
    origin: Origin

    @property
    def qualified(self) -> str:
        """``plugin:name``, which is never ambiguous; saved configs store it."""
        return f"{self.plugin}:{self.component.name}"

    @property
    def importable(self) -> bool:
        """Whether another process finds it too (given the same plugin files); False for a notebook cell's."""
        return self.origin != "notebook"


def check_kind(kind: str) -> None:
    """Raise ``UnknownComponent`` with the nearest kind if there is no such kind."""
    if kind not in KINDS:
        raise UnknownComponent(
            f"there is no kind of component named {kind!r}.{did_you_mean(kind, KINDS)} Known: {', '.join(KINDS)}."
        )


def check_component(component: Component) -> None:
    """Raise ``InputError`` if kind or name cannot be used."""
    check_kind(component.kind)
    if not component.name or ":" in component.name or component.name != component.name.strip():
        raise PluginError(f"{component.name!r} is no name for a component: letters, digits, '-' and '_'")
