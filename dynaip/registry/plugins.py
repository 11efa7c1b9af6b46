"""The plugins of a process: loaded one at a time, so that whatever one does, the others go on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pluggy

from dynaip.errors import PluginError
from dynaip.registry.component import Command, Component, Entry, Hooks, Plugin, PluginFailure, Stage, check_component
from dynaip.registry.discovery import Found, digest, plugin_file, run_file, version_problem
from dynaip.suggest import one_line

NOTEBOOK = Plugin("notebook", "", "notebook")
_loading: ContextVar[Plugin | None] = ContextVar("_loading", default=None)


class Plugins:
    """Plugins, the components they brought, and the failures; qualified names are unique."""

    def __init__(self, find: Callable[[], Iterable[Found]]) -> None:
        self._find = find
        self._discovered = False
        self._manager = pluggy.PluginManager("dynaip")
        self._manager.add_hookspecs(Hooks)
        self._digests: dict[Path, str] = {}
        self.plugins: dict[str, Plugin] = {}
        self.entries: dict[tuple[str, str], Entry] = {}
        self.commands: list[tuple[Plugin, Command]] = []
        self.failures: list[PluginFailure] = []

    @property
    def files(self) -> list[Path]:
        """Plugin files that are loaded."""
        return list(self._digests)

    def discover(self) -> None:
        """Load the installed plugins, on the first call only."""
        if self._discovered:
            return
        self._discovered = True
        for found in self._find():
            name = found.entry_point.name
            if name in self.plugins:  # two distributions, one name: the later one goes by its distribution
                name = found.distribution
            self._load(Plugin(name, found.version, "installed", found.distribution), found.entry_point.load)

    def load_file(self, path: str | Path) -> None:
        """Load a plugin file, again if it changed; ``PluginError`` (also recorded) if it fails."""
        file = plugin_file(path)
        fingerprint = digest(file)
        if self._digests.get(file) == fingerprint:
            return
        self.discover()
        known = self.plugins.get(file.stem)
        if known and known.version != str(file):
            raise PluginError(f"plugin file {path}: a plugin named {file.stem!r} is already loaded; rename the file")
        self._forget(file.stem)
        failures = len(self.failures)
        self._load(Plugin(file.stem, str(file), "file"), lambda: run_file(file))
        if len(self.failures) > failures:
            failure = self.failures[-1]
            raise PluginError(f"plugin file {path} failed at {failure.stage}: {failure.error}")
        self._digests[file] = fingerprint

    def add(self, component: Component, plugin: Plugin | None = None) -> Entry:
        """Add one component, of the plugin that is being loaded unless another is named; the same name replaces."""
        check_component(component)
        owner = plugin or _loading.get() or NOTEBOOK
        entry = Entry(component, owner.name, owner.version, owner.origin)
        self.plugins.setdefault(owner.name, owner)
        self.entries[component.kind, entry.qualified] = entry
        return entry

    def _load(self, plugin: Plugin, load: Callable[[], Any]) -> None:
        self.plugins[plugin.name] = plugin
        token = _loading.set(plugin)
        stage: Stage = "import"
        try:
            module = load()
            self.plugins[plugin.name] = replace(plugin, module=module)
            stage = "version"
            problem = version_problem(module)
            if problem:
                raise PluginError(problem)
            stage = "hook"
            self._listen(plugin, module)
            self._add_all(plugin, self._ask(plugin, module, "dynaip_components"))
            self._add_commands(plugin, self._ask(plugin, module, "dynaip_commands"))
        except (Exception, SystemExit) as error:  # a plugin that exits must not take the process with it
            self._drop(plugin.name)
            message = str(error) if isinstance(error, PluginError) else one_line(error)
            self.failures.append(PluginFailure(plugin.name, stage, message))
        finally:
            _loading.reset(token)

    def _listen(self, plugin: Plugin, module: Any) -> None:
        self._manager.register(module, plugin.name)
        registered = any(each.plugin == plugin.name for each in self.entries.values())
        if not self._manager.get_hookcallers(module) and not registered:
            raise PluginError("it has no @hookimpl named dynaip_components or dynaip_commands, and registers nothing")

    def _ask(self, plugin: Plugin, module: Any, hook: str) -> list[object]:
        """Call the plugin's own implementation of a hook, and no other's."""
        callers = [each for each in self._manager.get_hookcallers(module) or [] if each.name == hook]
        own = [each for caller in callers for each in caller.get_hookimpls() if each.plugin is module]
        return [answer for each in own for answer in cast("Iterable[object]", each.function())]

    def _add_commands(self, plugin: Plugin, commands: Sequence[object]) -> None:
        for command in commands:
            if not isinstance(command, Command):
                raise PluginError(f"dynaip_commands must give Command objects, and gave {command!r}")
            self.commands.append((plugin, command))

    def _add_all(self, plugin: Plugin, components: Sequence[object]) -> None:
        for component in components:
            if not isinstance(component, Component):
                raise PluginError(f"dynaip_components must give Component objects, and gave {component!r}")
            if (component.kind, f"{plugin.name}:{component.name}") in self.entries:
                raise PluginError(f"it lists {component.kind} {component.name!r} twice")
            self.add(component, plugin)

    def _drop(self, plugin: str) -> None:
        """Take back what a plugin brought."""
        self.entries = {key: each for key, each in self.entries.items() if each.plugin != plugin}
        self.commands = [each for each in self.commands if each[0].name != plugin]
        if self._manager.has_plugin(plugin):
            self._manager.unregister(name=plugin)

    def _forget(self, plugin: str) -> None:
        """Take a plugin back with its failures, before it is loaded again."""
        self._drop(plugin)
        self.plugins.pop(plugin, None)
        self.failures[:] = [each for each in self.failures if each.plugin.partition(":")[0] != plugin]
