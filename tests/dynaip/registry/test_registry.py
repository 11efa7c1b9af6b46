"""The registry under faults: whatever one plugin does, the others go on, and errors say what to do."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from dynaip.config import ComponentConfig, ComponentSpec, PolicyConfig
from dynaip.errors import MissingDependency, PluginError, UnknownComponent
from dynaip.registry import Component, Registry
from dynaip.registry.discovery import Found, installed_plugins

GOOD = """
from dynaip.config import ComponentConfig
from dynaip.registry import Component, hookimpl

class Config(ComponentConfig):
    amount: int = 3

class Runs:
    def __init__(self, config, **context):
        self.config, self.context = config, context
    def run(self, jobs, *, on_change):
        return {}

@hookimpl
def dynaip_components():
    return [Component("executor", "NAME", "PLUGIN:Runs", "PLUGIN:Config", "runs jobs")]
"""


def others() -> Registry:
    """A registry of the plugins that a test installs, without ours."""
    return Registry(lambda: [each for each in installed_plugins() if each.distribution != "dynaip"])


Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Put a plugin package with its metadata on sys.path, as pip would."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    before = set(sys.modules)

    def add(plugin: str, source: str, *, component: str = "mine", distribution: str = "", requires: str = "") -> None:
        code = textwrap.dedent(source).replace("PLUGIN", plugin).replace("NAME", component)
        (site / f"{plugin}.py").write_text(code)
        dist = distribution or f"dist-{plugin}".replace("_", "-")
        info = site / f"{dist.replace('-', '_')}-1.2.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.2\n{requires}")
        with (info / "entry_points.txt").open("a") as file:
            file.write(f"[dynaip]\n{plugin} = {plugin}\n")

    yield add
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(site) in str(sys.modules[name].__file__):
            del sys.modules[name]


def test_an_installed_plugin_is_found_built_and_named_with_its_version(install: Install) -> None:
    install("acme", GOOD)
    registry = others()
    entry = registry.find("executor", "mine")
    assert (entry.qualified, entry.version, entry.origin, entry.importable) == ("acme:mine", "1.2", "installed", True)
    config = registry.config_class("executor", "acme:mine").model_validate({"amount": 5})
    built = registry.build(ComponentSpec("executor", "acme:mine", config), extra=1)
    assert built.config is config
    assert built.context == {"extra": 1}


def test_nothing_is_imported_before_it_is_asked_for(install: Install) -> None:
    install("lazy", GOOD.replace('"PLUGIN:Runs"', '"lazy_target:Runs"'))
    registry = others()
    assert "lazy" not in sys.modules
    assert [each.qualified for each in registry.components("executor") if each.plugin == "lazy"] == ["lazy:mine"]
    assert "lazy" in sys.modules
    assert "lazy_target" not in sys.modules


@pytest.mark.parametrize(
    ("fault", "stage", "words"),
    [
        ("raise RuntimeError('at import')", "import", "RuntimeError: at import"),
        ("import a_package_that_is_not_there", "import", "a_package_that_is_not_there"),
        ("import sys; sys.exit(3)", "import", "SystemExit: 3"),
        ("def broken(:", "import", "SyntaxError"),
        ("REQUIRES_DYNAIP = '>=99'", "version", "needs dynaip >=99"),
        ("REQUIRES_DYNAIP = 'yes'", "version", "'yes' is not a version specifier"),
        ("x = 1", "hook", "no @hookimpl named dynaip_components"),
        (
            "from dynaip.registry import hookimpl\n@hookimpl\ndef dynaip_components(): raise KeyError('in hook')",
            "hook",
            "KeyError: 'in hook'",
        ),
        (
            "from dynaip.registry import hookimpl\n@hookimpl\ndef dynaip_components(): return ['text']",
            "hook",
            "must give Component objects",
        ),
        (
            "from dynaip.registry import hookimpl\n@hookimpl\ndef dynaip_components(wrong): return []",
            "hook",
            "wrong",
        ),
        (
            "from dynaip.registry import *\nfrom dynaip.registry import Component, hookimpl\n"
            "@hookimpl\ndef dynaip_components(): return [Component('fuson', 'x', 'a:b', 'a:c')]",
            "hook",
            "Did you mean fusion",
        ),
        (
            "from dynaip.registry import Component, hookimpl\n"
            "@hookimpl\ndef dynaip_components(): return [Component('fusion', 'x', 'a:b', 'a:c')] * 2",
            "hook",
            "lists fusion 'x' twice",
        ),
    ],
)
def test_a_broken_plugin_is_recorded_and_the_others_go_on(install: Install, fault: str, stage: str, words: str) -> None:
    install("bad", fault)
    install("good", GOOD)
    registry = others()
    assert registry.find("executor", "mine").plugin == "good"
    [failure] = [each for each in registry.failures if each.plugin == "bad"]
    assert failure.stage == stage
    assert words in failure.error
    assert not [each for each in registry.components() if each.plugin == "bad"]


def test_a_lookup_that_fails_counts_the_plugins_that_failed(install: Install) -> None:
    install("bad_one", "raise ValueError")
    install("bad_two", "raise ValueError")
    with pytest.raises(UnknownComponent, match=r"2 plugins failed to load: see dynaip plugins --errors"):
        others().find("fusion", "nothing_like_it")


def test_an_unknown_name_answers_with_the_nearest_and_all(install: Install) -> None:
    install("acme", GOOD, component="cluster")
    install("bcme", GOOD, component="ray")
    with pytest.raises(
        UnknownComponent, match=r"no executor named 'clutser'. Did you mean cluster\? Known: .*cluster"
    ) as caught:
        others().find("executor", "clutser")
    assert "ray" in str(caught.value)
    with pytest.raises(UnknownComponent, match="It is the name of a executor"):
        others().find("metric", "cluster")
    with pytest.raises(UnknownComponent, match=r"no kind of component named 'fusions'. Did you mean fusion\?"):
        others().components("fusions")


def test_a_name_that_two_plugins_give_has_no_winner(install: Install) -> None:
    install("acme", GOOD)
    install("bcme", GOOD)
    registry = others()
    with pytest.raises(UnknownComponent, match=r"given by 2 plugins: write acme:mine or bcme:mine"):
        registry.find("executor", "mine")
    assert registry.find("executor", "bcme:mine").plugin == "bcme"
    assert registry.state(registry.find("executor", "acme:mine")).startswith("ambiguous")


def test_two_distributions_with_one_entry_point_name_both_stay() -> None:
    points = [Found(EntryPoint("same", "json", "dynaip"), name, "1") for name in ("one", "two")]
    failed = [each.plugin for each in Registry(lambda: points).failures]
    assert failed == ["same", "two"]


def test_missing_dependency_gives_the_line_that_installs_it(install: Install) -> None:
    source = GOOD.replace('"PLUGIN:Runs", "PLUGIN:Config", "runs jobs"', '"needy:Runs", "PLUGIN:Config", "", "cluster"')
    install("acme", source, distribution="acme-dynaip")
    Path(sys.path[0], "needy.py").write_text("import package_not_there.part")
    registry = others()
    spec = ComponentSpec("executor", "acme:mine", registry.config_class("executor", "mine")())
    with pytest.raises(
        MissingDependency, match=r'needs package .package_not_there.: run pip install "acme-dynaip\[cluster\]"'
    ):
        registry.build(spec)
    assert registry.failures[-1].stage == "build"


def test_state_names_the_extra_whose_packages_are_missing(install: Install) -> None:
    source = GOOD.replace('"runs jobs"', '"", "cluster"')
    requires = (
        'Provides-Extra: cluster\nRequires-Dist: package-not-there>=2; extra == "cluster"\nRequires-Dist: pluggy\n'
    )
    install("acme_extra", source, requires=requires)
    registry = others()
    assert registry.state(registry.find("executor", "mine")) == 'needs pip install "dist-acme-extra[cluster]"'


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("PLUGIN:Missing", "there is no 'Missing' in 'acme_build'"),
        ("PLUGIN", "there is no 'class'"),
        ("PLUGIN:Raises", "ValueError: two lines"),
        ("PLUGIN:Poor", "Poor lacks run of dynaip.contracts.Executor"),
        ("raising_module:Thing", "ZeroDivisionError"),
        ("acme_build.nowhere:Thing", "there is no module 'acme_build.nowhere'"),
        ("nowhere_at_all:Thing", "there is no module 'nowhere_at_all'"),
        ("attribute_module:Thing", "AttributeError: inside"),
    ],
)
def test_failures_while_building_are_one_line_and_recorded(install: Install, target: str, words: str) -> None:
    source = GOOD.replace('"PLUGIN:Runs"', f'"{target}"') + textwrap.dedent(
        """
        class Raises:
            def __init__(self, config): raise ValueError("two\\nlines")
        class Poor:
            def __init__(self, config): pass
        """
    )
    install("acme_build", source)
    Path(sys.path[0], "raising_module.py").write_text("1 / 0")
    Path(sys.path[0], "attribute_module.py").write_text("raise AttributeError('inside')")
    registry = others()
    with pytest.raises(PluginError) as caught:
        registry.build(ComponentSpec("executor", "acme_build:mine", ComponentConfig()))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    failure = registry.failures[-1]
    assert (failure.plugin, failure.stage) == ("acme_build:mine", "build")
    assert registry.state(registry.find("executor", "mine")).startswith("broken")


def test_a_config_class_must_derive_from_ours(install: Install) -> None:
    install("acme", GOOD.replace("class Config(ComponentConfig)", "class Config"))
    with pytest.raises(PluginError, match=r"must derive from dynaip.config.ComponentConfig"):
        others().config_class("executor", "mine")


@pytest.mark.parametrize("kind", ["executor", "decoupling"])
def test_a_component_without_options_needs_no_config(kind: str) -> None:
    """It gets its kind's own base, which refuses every option."""
    component = Component(kind, "plain", object, summary="has no options")
    registered = Registry(list)
    registered.register(component)
    base = registered.config_class(kind, "plain")
    assert base is {"executor": ComponentConfig, "decoupling": PolicyConfig}[kind]
    assert base().model_dump() == {}


def test_a_file_brings_components_and_is_run_again_only_when_it_changed(tmp_path: Path) -> None:
    file = tmp_path / "mine_file.py"
    file.write_text(GOOD.replace("PLUGIN", "mine_file").replace("NAME", "from_file") + "\ncount = 1\n")
    registry = Registry(list)
    registry.load_file(file)
    entry = registry.find("executor", "mine_file:from_file")
    assert entry.origin == "file"
    assert entry.importable
    assert registry.files == [file]
    first = registry.target("executor", "from_file")
    registry.load_file(str(file))
    assert registry.target("executor", "from_file") is first
    file.write_text(file.read_text().replace('"from_file"', '"renamed"'))
    registry.load_file(file)
    assert [each.component.name for each in registry.components()] == ["renamed"]
    assert registry.target("executor", "renamed") is not first


def test_a_file_that_fails_says_so_at_once_and_loads_after_mending(tmp_path: Path) -> None:
    file = tmp_path / "mended.py"
    file.write_text("1 / 0")
    registry = Registry(list)
    with pytest.raises(PluginError, match=r"mended.py failed at import: ZeroDivisionError: division by zero"):
        registry.load_file(file)
    assert registry.failures
    assert registry.files == []
    file.write_text(GOOD.replace("PLUGIN", "mended").replace("NAME", "well"))
    registry.load_file(file)
    assert registry.find("executor", "well")
    assert not registry.failures


@pytest.mark.parametrize("name", ["absent.py", "notes.txt"])
def test_a_file_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(Exception, match=f"plugin file .*{name}"):
        Registry(list).load_file(tmp_path / name)


def test_a_file_cannot_take_the_name_of_another_plugin(tmp_path: Path) -> None:
    file = tmp_path / "json_plugin.py"
    file.write_text("")
    registry = Registry(lambda: [Found(EntryPoint("json_plugin", "json", "dynaip"), "d", "1")])
    with pytest.raises(PluginError, match="already loaded; rename the file"):
        registry.load_file(file)


NOTEBOOK = """
import dynaip
from dynaip.config import ComponentConfig
from dynaip.registry import registry

class Config(ComponentConfig):
    size: int = 1

def cell(value):
    @dynaip.register("executor", "mine", config=Config, summary="from a cell")
    class Mine:
        number = value
        def __init__(self, config): pass
        def run(self, jobs, *, on_change): return {}
    return Mine

first, second = cell(1), cell(2)
found = [each for each in registry().components("executor") if each.component.name == "mine"]
assert len(found) == 1 and found[0].qualified == "notebook:mine" and not found[0].importable, found
assert registry().target("executor", "mine") is second
import sys
assert "torch" not in sys.modules
"""


def test_a_notebook_cell_run_again_replaces_its_component() -> None:
    result = subprocess.run([sys.executable, "-c", NOTEBOOK], capture_output=True, text=True, env=_environment())
    assert result.returncode == 0, result.stderr


def test_register_in_a_plugin_file_belongs_to_the_file(tmp_path: Path) -> None:
    file = tmp_path / "decorated.py"
    file.write_text(
        "import dynaip\nfrom dynaip.config import ComponentConfig\n"
        "@dynaip.register('executor', 'here', config=ComponentConfig)\nclass Here: pass\n"
    )
    code = (
        "from dynaip.registry import registry\n"
        f"registry().load_file({str(file)!r})\n"
        "entry = registry().find('executor', 'decorated:here')\n"
        "assert entry.importable and entry.origin == 'file'\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=_environment())
    assert result.returncode == 0, result.stderr


def test_components_cannot_be_called_what_a_qualified_name_is() -> None:
    with pytest.raises(PluginError, match="no name for a component"):
        Registry(list).register(Component("fusion", "a:b", "x:y", "x:z"))


def test_the_built_ins_are_found_without_torch() -> None:
    code = (
        "import sys\nfrom dynaip.registry import registry\n"
        "assert registry().find('bundle', 'builtin:microworld')\n"
        "assert not registry().failures, registry().failures\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'pandas', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=_environment())
    assert result.returncode == 0, result.stderr


def test_our_own_plugins_come_first() -> None:
    names = [each.distribution for each in installed_plugins()]
    assert names[:2] == ["dynaip", "dynaip"]


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": os.pathsep.join(each for each in sys.path if each)}
