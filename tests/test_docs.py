"""The documentation says only what exists: commands and options, configs, names that are imported."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from dynaip.cli.app import build
from dynaip.config import load_any, recipes
from dynaip.registry import registry
from dynaip_plugins.microworld.bundle import PARTS
from dynaip_site import generated, notebooks

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PLUGIN = """
from dynaip.registry import hookimpl


@hookimpl
def dynaip_components():
    return []
"""
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return [text for found, text in BLOCK.findall(page.read_text(encoding="utf-8")) if found == language]


def told(page: Path) -> list[str]:
    """Every command line of ours, from shell blocks and from inline code."""
    joined = [text.replace("\\\n", " ") for text in blocks(page, "bash")]
    lines = [line.strip() for text in joined for line in text.splitlines()]
    inline = re.findall(r"`(dynaip [^`\n]+)`", BLOCK.sub("", page.read_text(encoding="utf-8")))
    return [line for line in (*lines, *inline) if line.startswith("dynaip ")]


@cache
def whole_command() -> Any:
    """All commands, made once."""
    return typer.main.get_command(build())


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    """The command that the words lead to, and the words that are left."""
    command = whole_command()
    while words and hasattr(command, "commands") and words[0] in command.commands:
        command, words = command.commands[words[0]], words[1:]
    return command, words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_and_options_exist(page: Path) -> None:
    for line in told(page):
        words = shlex.split(line.replace("\\|", "|").replace("[", " ").replace("]", " "), comments=True)[1:]
        if words[0] in ("COMMAND", "--help", "--version"):
            continue
        if len(words) > 1 and hasattr(whole_command().commands.get(words[0]), "commands"):
            words[1] = words[1].partition("|")[0]  # one of those that are told side by side
        command, rest = command_of(words)
        assert command.name != "dynaip", f"{page.name}: {line}: there is no command {words[0]}"
        known = {name for each in command.params for name in each.opts} | {"--help"}
        given = {word.partition("=")[0] for word in rest if re.match(r"^--?[a-z]", word)}
        assert given <= known, f"{page.name}: {line}: there is no {given - known}"


def test_the_configs_that_are_shown_are_valid(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN)
    shown = blocks(ROOT / "docs" / "reference" / "configs.md", "yaml")
    assert len(shown) >= 2
    for number, text in enumerate(shown):
        file = tmp_path / f"{number}.yaml"
        file.write_text(text, encoding="utf-8")
        assert load_any(str(file)).hash()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_python_imports_what_exists(page: Path) -> None:
    for text in blocks(page, "python"):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("dynaip"):
                missing = [each.name for each in node.names if not hasattr(import_module(node.module), each.name)]
                assert not missing, f"{page.name}: {node.module} has no {missing}"


def test_components_of_the_method_exist() -> None:
    text = (ROOT / "docs" / "concepts" / "method.md").read_text(encoding="utf-8")
    for kind in ("fusion", "decoupling"):
        for entry in registry().components(kind):
            if entry.qualified.startswith("builtin:"):
                assert f"`{entry.component.name}" in text or f"{entry.component.name}:" in text, entry.qualified


def test_recipes_that_are_named_exist() -> None:
    named = {name for page in PAGES for name in re.findall(r"\bmicroworld/[a-z]+\b", page.read_text(encoding="utf-8"))}
    named -= {"microworld/assets", *(f"microworld/{part}" for part in PARTS)}
    assert named <= set(recipes()), named - set(recipes())


def pages_of(entry: Any) -> list[str]:
    """The pages of a part of the navigation: a page, a list of parts, or parts under their titles."""
    if isinstance(entry, str):
        return [entry]
    parts = entry.values() if isinstance(entry, dict) else entry
    return [page for part in parts for page in pages_of(part)]


def test_every_page_is_in_the_navigation_once() -> None:
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    there = [str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")]
    made = [*generated.PAGES, *map(notebooks.address, notebooks.NOTEBOOKS)]
    assert sorted(pages_of(site["nav"])) == sorted([*there, *made])


def test_the_floors_that_are_told_are_those_that_are_held() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (floors,) = [each["layers"] for each in contracts if each.get("containers") == ["dynaip"]]
    assert "\n".join(floors) in (ROOT / "docs" / "concepts" / "architecture.md").read_text(encoding="utf-8")


def test_the_checklist_names_the_folders_of_every_kind() -> None:
    """A component's own folder lies in the one that is named for its kind, and tests in the other."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    told = {
        kind: (home, tests) for kind, home, tests in re.findall(r"^\| `(\w+)` \| `([^`]+)` \| `([^`]+)` \|", text, re.M)
    }
    shipped = [entry for entry in registry().components() if entry.plugin in ("builtin", "analysis")]
    assert set(told) == {entry.component.kind for entry in shipped} - {"bundle"}
    for entry in shipped:
        if entry.component.kind in told:
            home, tests = told[entry.component.kind]
            module = str(entry.component.target).partition(":")[0]
            assert module.startswith(home.partition("/")[2].replace("/", ".")), module
            assert list((ROOT / tests).rglob("test_*.py"))


def test_paths_that_are_told_exist() -> None:
    path_of = re.compile(r"`((?:dynaip|plugins|analysis|tests|docs|notebooks)/[A-Za-z_][\w./-]*)`")
    told = [(page.name, path) for page in PAGES for path in path_of.findall(page.read_text(encoding="utf-8"))]
    assert len(told) > 20
    assert not [each for each in told if not (ROOT / each[1]).exists()]
