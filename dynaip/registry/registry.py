"""One registry: which components there are, who brings them, and how one is built. Nothing is imported before it is needed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from dynaip.errors import DynaIPError, MissingDependency, PluginError, UnknownComponent
from dynaip.quiet import quiet_imports
from dynaip.registry.component import KINDS, Component, Entry, Plugin, PluginFailure, check_kind
from dynaip.registry.dependencies import missing_packages
from dynaip.registry.discovery import Found, installed_plugins
from dynaip.registry.options import ComponentConfig, Spec
from dynaip.registry.plugins import Plugins
from dynaip.suggest import did_you_mean, one_line


class Registry:
    """All components of this process; plugins are discovered on the first question."""

    def __init__(self, find_plugins: Callable[[], Iterable[Found]] = installed_plugins) -> None:
        self._plugins = Plugins(find_plugins)

    @property
    def failures(self) -> list[PluginFailure]:
        """Plugins that failed so far, in the order of failing."""
        self._plugins.discover()
        return list(self._plugins.failures)

    @property
    def files(self) -> list[Path]:
        """Plugin files loaded so far: hand them to child processes as ``--plugin``."""
        return self._plugins.files

    def components(self, kind: str | None = None) -> list[Entry]:
        """List components, of one kind or all, in the order of kinds, then by name and plugin."""
        self._plugins.discover()
        if kind is not None:
            check_kind(kind)
        order = list(KINDS)
        entries = [each for each in self._plugins.entries.values() if kind in (None, each.component.kind)]
        return sorted(entries, key=lambda each: (order.index(each.component.kind), each.component.name, each.plugin))

    def find(self, kind: str, name: str) -> Entry:
        """Find one component by plain or qualified name; ``UnknownComponent`` if there is none, or more than one."""
        entries = self.components(kind)
        found = [each for each in entries if name in (each.qualified, each.component.name)]
        if len(found) == 1:
            return found[0]
        if found:
            choices = sorted(each.qualified for each in found)
            raise UnknownComponent(f"{kind} {name!r} is given by {len(choices)} plugins: write {' or '.join(choices)}.")
        raise UnknownComponent(self._unknown(kind, name, entries))

    def config_class(self, kind: str, name: str) -> type[ComponentConfig]:
        """Import the config class of a component; ``PluginError`` if it cannot be or is none."""
        entry = self.find(kind, name)
        base = KINDS[kind].config
        found = self._resolve(entry, entry.component.config or base)
        if not (isinstance(found, type) and issubclass(found, base)):
            raise self._broken(entry, f"its config {found!r} must derive from dynaip.config.{base.__name__}")
        return found

    def target(self, kind: str, name: str) -> Any:
        """Import the class of a component; ``MissingDependency`` or ``PluginError`` if it cannot be."""
        entry = self.find(kind, name)
        return self._resolve(entry, entry.component.target)

    def build(self, spec: Spec, **context: Any) -> Any:
        """Build ``Target(spec.config, **context)``; errors of ours pass, others become ``PluginError``."""
        entry = self.find(spec.kind, spec.use)
        target = self._resolve(entry, entry.component.target)
        try:
            built = target(spec.config, **context)
        except DynaIPError:
            raise
        except ModuleNotFoundError as error:
            raise self._missing(entry, error) from error
        except Exception as error:
            raise self._broken(entry, one_line(error)) from error
        module, _, contract = KINDS[spec.kind].contract.partition(":")
        required = getattr(import_module(module), contract).__abstractmethods__
        lacking = sorted(each for each in required if not callable(getattr(built, each, None)))
        if lacking:
            raise self._broken(entry, f"{type(built).__name__} lacks {', '.join(lacking)} of {module}.{contract}")
        return built

    def register(self, component: Component, plugin: str | None = None) -> Entry:
        """Add a live component, of the plugin file that is being run or of this notebook; the same name replaces."""
        return self._plugins.add(component, Plugin(plugin, "", "notebook") if plugin else None)

    def commands(self, taken: Collection[str] = ()) -> dict[str, Any]:
        """Import the commands that plugins bring: name -> function or Typer app, without the names that are taken.

        One that cannot be imported, or whose name is taken or another plugin's, becomes a failure.
        """
        self._plugins.discover()
        found: dict[str, Any] = {}
        for plugin, command in self._plugins.commands:
            try:
                if command.name in taken or command.name in found:
                    raise PluginError("there is a command of that name already")
                target = command.target
                if isinstance(target, str):
                    name, _, attribute = target.partition(":")
                    target = getattr(self._module(self._plugins.plugins[plugin.name], name), attribute)
                found[command.name] = target
            except (Exception, SystemExit) as error:
                reason = str(error) if isinstance(error, PluginError) else one_line(error)
                failure = PluginFailure(f"{plugin.name}:{command.name}", "build", reason)
                if failure not in self._plugins.failures:
                    self._plugins.failures.append(failure)
        return found

    def load_file(self, path: str | Path) -> None:
        """Load a plugin file, again if it changed; ``PluginError`` (also recorded) if it fails."""
        self._plugins.load_file(path)

    def state(self, entry: Entry) -> str:
        """Say whether a component can be used: ready, ambiguous, broken (why) or needs (what to install)."""
        kind, name = entry.component.kind, entry.component.name
        broken = [each.error for each in self.failures if each.plugin == entry.qualified]
        if broken:
            return f"broken: {broken[-1]}"
        home = self._plugins.plugins[entry.plugin].distribution
        missing = missing_packages(home, entry.component.extra) if home and entry.component.extra else []
        if missing:
            return f"needs {self._pip_line(entry, missing[0])}"
        twins = [each for each in self.components(kind) if each.component.name == name]
        return "ready" if len(twins) == 1 else "ambiguous: use the qualified name"

    # Importing what a component names, and the words for what can go wrong.

    def _resolve(self, entry: Entry, address: str | type) -> Any:
        if not isinstance(address, str):
            return address
        name, _, attribute = address.partition(":")
        try:
            module = self._module(self._plugins.plugins[entry.plugin], name)
        except ModuleNotFoundError as error:
            if f"{name}.".startswith(f"{error.name}."):
                raise self._broken(entry, f"there is no module {name!r}") from error
            raise self._missing(entry, error) from error
        except DynaIPError:
            raise
        except (Exception, SystemExit) as error:
            raise self._broken(entry, one_line(error)) from error
        if not attribute or not hasattr(module, attribute):
            raise self._broken(entry, f"there is no {attribute or 'class'!r} in {name!r}")
        return getattr(module, attribute)

    def _module(self, plugin: Plugin, name: str) -> Any:
        if plugin.origin == "file" and name in ("", plugin.name):
            return plugin.module  # a file names its own classes as "mine:Fusion" or ":Fusion"
        with quiet_imports():
            return import_module(name)

    def _broken(self, entry: Entry, reason: str) -> PluginError:
        self._plugins.failures.append(PluginFailure(entry.qualified, "build", reason))
        return PluginError(f"{entry.component.kind} {entry.qualified!r} cannot be built: {reason}")

    def _missing(self, entry: Entry, error: ModuleNotFoundError) -> MissingDependency | PluginError:
        package = (error.name or "").partition(".")[0]
        if not package or package in sys.modules:  # a part of an installed package is missing: no pip line mends that
            return self._broken(entry, one_line(error))
        line = self._pip_line(entry, package)
        self._plugins.failures.append(PluginFailure(entry.qualified, "build", f"package {package!r} is not installed"))
        return MissingDependency(f"{entry.component.kind} {entry.qualified!r} needs package {package!r}: run {line}")

    def _pip_line(self, entry: Entry, package: str) -> str:
        home = self._plugins.plugins[entry.plugin].distribution
        wanted = f"{home}[{entry.component.extra}]" if home and entry.component.extra else package
        return f'pip install "{wanted}"'

    def _unknown(self, kind: str, name: str, entries: Sequence[Entry]) -> str:
        names = sorted({each.component.name for each in entries})
        elsewhere = [each.component.kind for each in self.components() if each.component.name == name]
        text = f"there is no {kind} named {name!r}."
        text += f" It is the name of a {elsewhere[0]}." if elsewhere else did_you_mean(name, names)
        text += f" Known: {', '.join(names) or 'none'}."
        home = name.rpartition(":")[0]
        if home and home not in self._plugins.plugins:
            text += f" No plugin named {home!r} is loaded: install it, or name its file with --plugin."
        failed = {each.plugin for each in self._plugins.failures if each.stage != "build"}
        if failed:
            text += f" {len(failed)} plugin{'s' * (len(failed) > 1)} failed to load: see dynaip plugins --errors."
        return text
