"""The registry: which components there are, who brings them, and how one is built.

A plugin is a module with one hook that returns data::

    from dynaip.registry import Component, hookimpl

    @hookimpl
    def dynaip_components():
        return [Component("fusion", "mine", "acme.model:Mine", "acme.config:MineConfig", "what it does")]

Nothing named by a component is imported before it is needed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import pluggy

from dynaip.discovery import Found, digest, installed_plugins, plugin_file, run_file, version_problem
from dynaip.errors import DynaIPError, MissingDependency, PluginError, UnknownComponent
from dynaip.suggest import did_you_mean, one_line

if TYPE_CHECKING:
    from dynaip.config import ComponentConfig, ComponentSpec

KINDS: dict[str, str] = {
    "encoder": "dynaip.contracts:VisualEncoder",
    "fusion": "dynaip.contracts:FeatureFusion",
    "decoupling": "dynaip.contracts:DecouplingPolicy",
    "backbone": "dynaip.contracts:Backbone",
    "source": "dynaip.contracts:PairSource",
    "benchmark": "dynaip.contracts:Benchmark",
    "metric": "dynaip.contracts:Metric",
    "executor": "dynaip.contracts:Executor",
    "report_section": "dynaip.report.section:ReportSection",
    "bundle": "dynaip.contracts:Bundle",
}
"""Kind of component -> its contract."""

Stage = Literal["import", "version", "hook", "build"]
Origin = Literal["installed", "file", "notebook"]
Class = TypeVar("Class", bound=type)

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
    config: str | type
    """The config class (a ``ComponentConfig``, importable without torch), or where it is."""
    summary: str = ""
    extra: str | None = None
    """Extra of the plugin's distribution that brings the component's dependencies."""


class Hooks:
    """What a plugin can answer."""

    @hookspec
    def dynaip_components(self) -> Iterable[Component]:
        """List the plugin's components: data only, nothing heavy imported."""
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


_loading: ContextVar[Plugin | None] = ContextVar("_loading", default=None)
_NOTEBOOK = Plugin("notebook", "", "notebook")


class Registry:
    """All components of this process; plugins are discovered on the first question."""

    def __init__(self, find_plugins: Callable[[], Iterable[Found]] = installed_plugins) -> None:
        self._find_plugins = find_plugins
        self._discovered = False
        self._manager = pluggy.PluginManager("dynaip")
        self._manager.add_hookspecs(Hooks)
        self._plugins: dict[str, Plugin] = {}
        self._entries: dict[tuple[str, str], Entry] = {}
        self._digests: dict[Path, str] = {}
        self._failures: list[PluginFailure] = []

    @property
    def failures(self) -> list[PluginFailure]:
        """Plugins that failed so far, in the order of failing."""
        self._discover()
        return list(self._failures)

    @property
    def files(self) -> list[Path]:
        """Plugin files loaded so far: hand them to child processes as ``--plugin``."""
        return list(self._digests)

    def components(self, kind: str | None = None) -> list[Entry]:
        """List components, of one kind or all, sorted by kind, name and plugin; ``UnknownComponent`` for an unknown kind."""
        self._discover()
        if kind is not None:
            _check_kind(kind)
        order = list(KINDS)
        entries = [each for each in self._entries.values() if kind in (None, each.component.kind)]
        return sorted(entries, key=lambda each: (order.index(each.component.kind), each.component.name, each.plugin))

    def find(self, kind: str, name: str) -> Entry:
        """Find one component by plain or qualified name; ``UnknownComponent`` if there is none, or more than one."""
        entries = self.components(kind)
        found = [each for each in entries if name in (each.qualified, each.component.name)]
        if len(found) == 1:
            return found[0]
        if found:
            raise UnknownComponent(_ambiguous(kind, name, found))
        raise UnknownComponent(self._unknown(kind, name, entries))

    def config_class(self, kind: str, name: str) -> type[ComponentConfig]:
        """Import the config class of a component; ``PluginError`` if it cannot be or is none."""
        entry = self.find(kind, name)
        found = self._resolve(entry, entry.component.config)
        base = _config_base(kind)
        if not (isinstance(found, type) and issubclass(found, base)):
            raise self._broken(entry, f"its config {found!r} must derive from dynaip.config.{base.__name__}")
        return found

    def target(self, kind: str, name: str) -> Any:
        """Import the class of a component; ``MissingDependency`` or ``PluginError`` if it cannot be."""
        entry = self.find(kind, name)
        return self._resolve(entry, entry.component.target)

    def build(self, spec: ComponentSpec, **context: Any) -> Any:
        """Build ``Target(spec.config, **context)``; errors of ours pass, others become ``PluginError``."""
        entry = self.find(spec.kind, spec.use)
        target = self._resolve(entry, entry.component.target)
        try:
            built = target(spec.config, **context)
        except DynaIPError:
            raise
        except ImportError as error:
            raise self._missing(entry, error) from error
        except Exception as error:
            raise self._broken(entry, one_line(error)) from error
        return self._checked(entry, built)

    def register(self, component: Component, plugin: str | None = None) -> Entry:
        """Add a live component (of the plugin that is being loaded, else of this notebook); the same name replaces."""
        owner = _loading.get() or (Plugin(plugin, "", "notebook") if plugin else _NOTEBOOK)
        return self._add(component, owner)

    def load_file(self, path: str | Path) -> None:
        """Load a plugin file, again if it changed; ``PluginError`` (also recorded) if it fails."""
        file = plugin_file(path)
        fingerprint = digest(file)
        if self._digests.get(file) == fingerprint:
            return
        self._discover()
        plugin = self._plugin_of_file(file, path)
        self._forget(plugin.name)
        failures = len(self._failures)
        self._load(plugin, lambda: run_file(file))
        if len(self._failures) > failures:
            failure = self._failures[-1]
            raise PluginError(f"plugin file {path} failed at {failure.stage}: {failure.error}")
        self._digests[file] = fingerprint

    def state(self, entry: Entry) -> str:
        """Say in words whether a component can be used: ``ready``, ``ambiguous``, ``broken: …`` or ``needs pip install …``."""
        twins = [each for each in self.components(entry.component.kind) if each.component.name == entry.component.name]
        broken = [each.error for each in self._failures if each.plugin == entry.qualified]
        if broken:
            return f"broken: {broken[-1]}"
        missing = self._missing_packages(entry)
        if missing:
            return f"needs {self._pip_line(entry, missing[0])}"
        return "ready" if len(twins) == 1 else "ambiguous: use the qualified name"

    # Loading, one plugin at a time: whatever one does, the others go on.

    def _discover(self) -> None:
        if self._discovered:
            return
        self._discovered = True
        for found in self._find_plugins():
            name = found.entry_point.name
            if name in self._plugins:  # two distributions, one name: the later one goes by its distribution
                name = found.distribution
            plugin = Plugin(name, found.version, "installed", found.distribution)
            self._load(plugin, found.entry_point.load)

    def _load(self, plugin: Plugin, load: Callable[[], Any]) -> None:
        self._plugins[plugin.name] = plugin
        token = _loading.set(plugin)
        stage: Stage = "import"
        try:
            module = load()
            self._plugins[plugin.name] = Plugin(**{**vars(plugin), "module": module})
            stage = "version"
            problem = version_problem(module)
            if problem:
                raise PluginError(problem)
            stage = "hook"
            self._add_all(plugin, self._ask(plugin, module))
        except (Exception, SystemExit) as error:  # a plugin that exits must not take the process with it
            self._forget(plugin.name, keep=True)
            message = str(error) if isinstance(error, PluginError) else one_line(error)
            self._failures.append(PluginFailure(plugin.name, stage, message))
        finally:
            _loading.reset(token)

    def _ask(self, plugin: Plugin, module: Any) -> list[Component]:
        """Call the plugin's own hook implementation, and no other's."""
        self._manager.register(module, plugin.name)
        callers = self._manager.get_hookcallers(module) or []
        listed: list[Component] = []
        for caller in callers:
            for implementation in caller.get_hookimpls():
                if implementation.plugin is module:
                    listed.extend(implementation.function())
        if not callers and not any(each.plugin == plugin.name for each in self._entries.values()):
            raise PluginError("it has no @hookimpl named dynaip_components, and registers nothing")
        return listed

    def _add_all(self, plugin: Plugin, components: Sequence[object]) -> None:
        for component in components:
            if not isinstance(component, Component):
                raise PluginError(f"dynaip_components must give Component objects, and gave {component!r}")
            if self._entries.get((component.kind, f"{plugin.name}:{component.name}")):
                raise PluginError(f"it lists {component.kind} {component.name!r} twice")
            self._add(component, plugin)

    def _add(self, component: Component, plugin: Plugin) -> Entry:
        _check_component(component)
        entry = Entry(component, plugin.name, plugin.version, plugin.origin)
        self._plugins.setdefault(plugin.name, plugin)
        self._entries[component.kind, entry.qualified] = entry
        return entry

    def _forget(self, plugin: str, *, keep: bool = False) -> None:
        for key in [key for key, each in self._entries.items() if each.plugin == plugin]:
            del self._entries[key]
        if self._manager.has_plugin(plugin):
            self._manager.unregister(name=plugin)
        if not keep:
            self._plugins.pop(plugin, None)
            self._failures = [each for each in self._failures if each.plugin != plugin]

    def _plugin_of_file(self, file: Path, given: str | Path) -> Plugin:
        known = self._plugins.get(file.stem)
        if known and known.version != str(file):
            raise PluginError(f"plugin file {given}: a plugin named {file.stem!r} is already loaded; rename the file")
        return Plugin(file.stem, str(file), "file")

    # Importing what a component names, and the words for what can go wrong.

    def _resolve(self, entry: Entry, address: str | type) -> Any:
        if not isinstance(address, str):
            return address
        module_name, _, attribute = address.partition(":")
        try:
            return getattr(self._module(entry, module_name), attribute)
        except ImportError as error:
            raise self._missing(entry, error) from error
        except AttributeError as error:
            raise self._broken(entry, f"there is no {attribute or 'class'!r} in {module_name!r}") from error
        except DynaIPError:
            raise
        except (Exception, SystemExit) as error:
            raise self._broken(entry, one_line(error)) from error

    def _module(self, entry: Entry, name: str) -> ModuleType:
        plugin = self._plugins[entry.plugin]
        if plugin.origin == "file" and name in ("", plugin.name):
            return plugin.module  # a file names its own classes as "mine:Fusion" or ":Fusion"
        return import_module(name)

    def _broken(self, entry: Entry, reason: str) -> PluginError:
        self._failures.append(PluginFailure(entry.qualified, "build", reason))
        return PluginError(f"{entry.component.kind} {entry.qualified!r} cannot be built: {reason}")

    def _missing(self, entry: Entry, error: ImportError) -> MissingDependency | PluginError:
        package = (error.name or "").partition(".")[0]
        if not isinstance(error, ModuleNotFoundError) or not package or package in sys.modules:
            return self._broken(entry, one_line(error))
        line = self._pip_line(entry, package)
        self._failures.append(PluginFailure(entry.qualified, "build", f"package {package!r} is not installed"))
        return MissingDependency(f"{entry.component.kind} {entry.qualified!r} needs package {package!r}: run {line}")

    def _pip_line(self, entry: Entry, package: str) -> str:
        home = self._plugins[entry.plugin].distribution
        wanted = f"{home}[{entry.component.extra}]" if home and entry.component.extra else package
        return f'pip install "{wanted}"'

    def _missing_packages(self, entry: Entry) -> list[str]:
        home = self._plugins[entry.plugin].distribution
        if not home or not entry.component.extra:
            return []
        from dynaip.dependencies import missing_packages

        return missing_packages(home, entry.component.extra)

    def _unknown(self, kind: str, name: str, entries: Sequence[Entry]) -> str:
        names = sorted({each.component.name for each in entries})
        elsewhere = [each.component.kind for each in self.components() if each.component.name == name]
        text = f"there is no {kind} named {name!r}."
        text += f" It is the name of a {elsewhere[0]}." if elsewhere else did_you_mean(name, names)
        text += f" Known: {', '.join(names) or 'none'}."
        if self._failures:
            count = len({each.plugin for each in self._failures})
            text += f" {count} plugin{'s' * (count > 1)} failed to load: see dynaip plugins --errors."
        return text

    def _checked(self, entry: Entry, built: Any) -> Any:
        module, _, contract = KINDS[entry.component.kind].partition(":")
        required = getattr(import_module(module), contract).__abstractmethods__
        lacking = sorted(each for each in required if not callable(getattr(built, each, None)))
        if lacking:
            raise self._broken(
                entry, f"{type(built).__name__} lacks {', '.join(lacking)} of dynaip.contracts.{contract}"
            )
        return built


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise UnknownComponent(
            f"there is no kind of component named {kind!r}.{did_you_mean(kind, KINDS)} Known: {', '.join(KINDS)}."
        )


def _check_component(component: Component) -> None:
    _check_kind(component.kind)
    if not component.name or ":" in component.name or component.name != component.name.strip():
        raise PluginError(f"{component.name!r} is no name for a component: letters, digits, '-' and '_'")


def _ambiguous(kind: str, name: str, found: Sequence[Entry]) -> str:
    choices = sorted(each.qualified for each in found)
    return f"{kind} {name!r} is given by {len(choices)} plugins: write {' or '.join(choices)}."


def _config_base(kind: str) -> type[ComponentConfig]:
    from dynaip.config import ComponentConfig, PolicyConfig

    return PolicyConfig if kind == "decoupling" else ComponentConfig


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
