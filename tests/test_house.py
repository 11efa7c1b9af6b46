"""The rules of the house, read from the source: what loads how much, what is documented, how long things are."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from dynaip.registry import registry
from dynaip_site import generated, notebooks

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "dynaip": ROOT / "dynaip",
    "dynaip_plugins": ROOT / "plugins" / "dynaip_plugins",
    "dynaip_analysis": ROOT / "analysis" / "dynaip_analysis",
}
HEAVY = {"torch", "diffusers", "transformers", "accelerate", "pandas", "matplotlib", "pyarrow", "scipy", "sklearn"}
LONGEST_FILE, LONGEST_OF_ONE_CLASS, LONGEST_FUNCTION = 400, 450, 60
UNSAFE = {"pickle.load", "pickle.loads", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "eval"}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
HISTORY = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|(?<![&\w])#\d+\b|\bissue \d+")
HINT = re.compile(r"TODO|FIXME|XXX|HACK|#\d|issue \d")
"""Is in every file that has history; the few that have it are taken apart."""


def sources(package: str) -> list[Path]:
    """All Python files of one package."""
    return sorted(PACKAGES[package].rglob("*.py"))


ALL = [path for package in PACKAGES for path in sources(package)]


@cache
def tree_of(path: Path) -> ast.Module:
    """Parse one file."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def named(path: Path) -> str:
    """The path below the repository."""
    return str(path.relative_to(ROOT))


def test_configs_and_commands_import_nothing_heavy() -> None:
    modules = [f"dynaip_plugins.{'.'.join(path.relative_to(PACKAGES['dynaip_plugins']).with_suffix('').parts)}"
               for path in sources("dynaip_plugins") if path.name == "config.py"]  # fmt: skip
    modules += ["dynaip", "dynaip.registry", "dynaip.config", "dynaip.errors", "dynaip.cli.app", "dynaip_plugins.builtin",
                "dynaip_analysis.plugin", "dynaip.contracts.section"]  # fmt: skip
    modules += [f"dynaip_analysis.{path.parent.name}.{path.stem}" for path in sources("dynaip_analysis")
                if path.name in ("config.py", "section.py")]  # fmt: skip
    code = f"""
import sys
sys.path[:0] = {[str(ROOT), str(ROOT / "plugins"), str(ROOT / "analysis")]!r}
from importlib import import_module
for name in {modules!r}:
    import_module(name)
    found = {HEAVY!r} & set(sys.modules)
    assert not found, f"{{name}} imports {{sorted(found)}}"
import dynaip.cli.app
dynaip.cli.app.build()
from dynaip.registry import registry
assert len(registry().components()) > 20 and not registry().failures, registry().failures
found = {HEAVY!r} & set(sys.modules)
assert not found, f"listing components imports {{sorted(found)}}"
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["plugins"], ["check", "microworld/demo"]], ids=" ".join)
def test_commands_that_only_look_import_no_torch(arguments: list[str]) -> None:
    paths = [ROOT, ROOT / "plugins", ROOT / "analysis"]
    code = f"""
import sys
from dynaip.cli.app import main
code = main({arguments!r})
found = {HEAVY!r} & set(sys.modules)
assert not found, sorted(found)
sys.exit(code)
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr


def public(path: Path) -> Iterator[tuple[int, str, ast.AST]]:
    """Public classes and functions of a file, and public methods of its public classes."""
    for node in tree_of(path).body:
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)) and not node.name.startswith("_"):
            yield node.lineno, node.name, node
            if isinstance(node, ast.ClassDef):
                for inner in node.body:
                    if isinstance(inner, FUNCTIONS) and not inner.name.startswith("_"):
                        yield inner.lineno, f"{node.name}.{inner.name}", inner


def test_every_module_and_public_name_has_a_docstring() -> None:
    bare = [named(path) for path in ALL if not ast.get_docstring(tree_of(path))]
    for path in ALL:
        for line, name, node in public(path):
            assert isinstance(node, (*FUNCTIONS, ast.ClassDef))
            overrides = {ast.unparse(each) for each in node.decorator_list} & {"overload", "override"}
            if not ast.get_docstring(node) and not overrides:
                bare.append(f"{named(path)}:{line} {name}")
    assert not bare, f"{len(bare)} without docstring: {bare}"


def test_files_and_functions_stay_short() -> None:
    long: list[str] = []
    for path in ALL:
        lines = len(path.read_text(encoding="utf-8").splitlines())
        classes = [node for node in tree_of(path).body if isinstance(node, ast.ClassDef)]
        one_idea = any((node.end_lineno or 0) - node.lineno > 0.7 * lines for node in classes)
        if lines > (LONGEST_OF_ONE_CLASS if one_idea else LONGEST_FILE):
            long.append(f"{named(path)}: {lines} lines")
        for node in ast.walk(tree_of(path)):
            if isinstance(node, FUNCTIONS) and node.end_lineno:
                length = node.end_lineno - node.body[0].lineno + 1  # a command's signature is its list of options
                if length > LONGEST_FUNCTION:
                    long.append(f"{named(path)}:{node.lineno} {node.name}: {length} lines")
    assert not long, long


def test_public_functions_are_typed() -> None:
    untyped: list[str] = []
    for path in ALL:
        for line, name, node in public(path):
            if isinstance(node, FUNCTIONS):
                own = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                missing = [each.arg for each in own if each.annotation is None and each.arg not in ("self", "cls")]
                if missing or node.returns is None:
                    untyped.append(f"{named(path)}:{line} {name} {missing or 'return'}")
    assert not untyped, untyped


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("dynaip/contracts/adapter.py", "FeatureFusion"),
        ("dynaip/registry/registry.py", "Registry"),
        ("dynaip/adapter/model.py", "DynaIP"),
        ("dynaip/adapter/injector.py", "Injector"),
        ("dynaip/adapter/hub.py", "push"),
        ("dynaip/adapter/reference.py", "Reference"),
        ("dynaip/training/checkpoints.py", "Checkpoint"),
        ("dynaip/ablation/folder.py", "AblationFolder"),
        ("plugins/dynaip_plugins/fusion/hmoe/model.py", "HMoEFusion"),
        ("plugins/dynaip_plugins/backbones/sd3/model.py", "SD3Backbone"),
        ("plugins/dynaip_plugins/decoupling/constant/config.py", "DynamicConfig"),
        ("plugins/dynaip_plugins/microworld/models/oracle.py", "Oracle"),
        ("plugins/dynaip_plugins/microworld/world/scenes.py", "Scene"),
        ("analysis/dynaip_analysis/attention/section.py", "AttentionSection"),
        ("analysis/dynaip_analysis/recording/recording.py", "Recording"),
    ],
)
def test_things_lie_where_a_newcomer_looks(path: str, name: str) -> None:
    """Folder and file tell what lies in them, and nothing else of the name lies elsewhere."""
    assert [named(each) for each in ALL for _, found, _ in public(each) if found == name] == [path]


@pytest.mark.parametrize(
    ("tests", "package"), [("dynaip", "dynaip"), ("plugins", "dynaip_plugins"), ("analysis", "dynaip_analysis")]
)
def test_folders_of_tests_mirror_those_of_the_source(tests: str, package: str) -> None:
    base = ROOT / "tests" / tests
    folders = {path.parent.relative_to(base) for path in base.rglob("test_*.py")}
    assert not [str(each) for each in folders if not (PACKAGES[package] / each).is_dir()]


def test_the_name_of_a_class_means_one_thing() -> None:
    """In the whole house; what one folder says of each of its models, as every training has a learner, is one thing."""
    homes: dict[str, set[Path]] = {}
    for path in ALL:
        for node in tree_of(path).body:
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name, set()).add(path.parent)
    assert not {name: sorted(map(named, folders)) for name, folders in homes.items() if len(folders) > 1}


def test_no_drawer_for_everything() -> None:
    drawers = [named(path) for path in ALL if path.stem in ("util", "utils", "helpers", "misc", "common")]
    assert not drawers
    assert not (ROOT / "plugins" / "__init__.py").exists()
    assert not (ROOT / "analysis" / "__init__.py").exists()


def words_of(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of every comment and docstring: what is written for people, so that colours in strings do not count."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string


def test_no_history_in_the_code() -> None:
    texts = [path for path in (*ALL, *(ROOT / "tests").rglob("*.py")) if path != Path(__file__)]
    hinted = [path for path in texts if HINT.search(path.read_text(encoding="utf-8"))]
    wrong = [f"{named(path)}:{line} {found[0]}" for path in hinted for line, text in words_of(path)
             if (found := HISTORY.search(text))]  # fmt: skip
    assert not wrong, wrong


@pytest.mark.parametrize("text", ["# TODO: later", "# see #7", "# closes #123", "as issue 12 asks", "# FIXME"])
def test_history_is_recognised(text: str) -> None:
    assert HISTORY.search(text)
    assert HINT.search(text)


def test_nothing_is_unpickled() -> None:
    wrong: list[str] = []
    for path in ALL:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                safe = any(each.arg == "weights_only" and ast.unparse(each.value) == "True" for each in node.keywords)
                if called in UNSAFE or (called == "torch.load" and not safe):
                    wrong.append(f"{named(path)}:{node.lineno} {called}")
    assert not wrong, wrong


def test_every_command_is_in_the_readme_and_none_is_invented() -> None:
    commands = {path.stem for path in (PACKAGES["dynaip"] / "cli").glob("*.py")}
    commands -= {"__init__", "__main__", "app", "options", "output", "tables"}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    told = set(re.findall(r"`dynaip ([a-z]+)", readme))
    commands = {name.rstrip("_") for name in commands if not name.startswith("_")} | registry().commands().keys()
    assert commands == told, f"missing in README: {commands - told}; invented: {told - commands}"


def test_links_of_the_documents_lead_somewhere() -> None:
    documents = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    made = {ROOT / "docs" / page for page in (*generated.PAGES, *map(notebooks.address, notebooks.NOTEBOOKS))}
    broken: list[str] = []
    for document in documents:
        text = re.sub(r"^```.*?^```$", "", document.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
            if not (document.parent / link).exists() and (document.parent / link).resolve() not in made:
                broken.append(f"{named(document)}: {link}")
    assert not broken, broken


def test_commands_print_through_one_door() -> None:
    """``cli/output.py`` keeps control characters of others from the terminal; help and version are our own words."""
    doors = {"output.py", "tables.py", "app.py"}
    wrong = [f"{named(path)}:{node.lineno}" for path in sources("dynaip") if path.parent.name == "cli" and path.name not in doors
             for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call)
             and ast.unparse(node.func) in ("print", "typer.echo", "typer.secho", "click.echo")]  # fmt: skip
    assert not wrong, wrong
