"""Who imports whom, read from the source: imports inside functions and names in strings are arrows as well.

`make check` holds the same floors with import-linter, whose contracts in pyproject.toml are where they are written.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "dynaip": ROOT / "dynaip",
    "dynaip_plugins": ROOT / "plugins" / "dynaip_plugins",
    "dynaip_analysis": ROOT / "analysis" / "dynaip_analysis",
}
ALLOWED = {"dynaip": set[str](), "dynaip_plugins": {"dynaip"}, "dynaip_analysis": {"dynaip"}}
"""Package -> which of the other packages it may import."""
ADDRESS = re.compile(r"(?:dynaip\w*|plugins|analysis)(?:\.[A-Za-z_]\w*)+(?::\w+)?")
CONTRACTS: list[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
    "contracts"
]


def module_of(package: str, path: Path) -> str:
    """The dotted name of a file."""
    parts = [package, *path.relative_to(PACKAGES[package]).with_suffix("").parts]
    return ".".join(takewhile(lambda part: part != "__init__", parts))


FILES = {module_of(package, path): path for package, base in PACKAGES.items() for path in sorted(base.rglob("*.py"))}


def named_by(tree: ast.Module, package: str) -> Iterator[tuple[int, str]]:
    """Line and dotted name of all that a file in ``package`` imports or names, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: package.count(".") + 2 - node.level] if node.level else []
            home = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{home}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and ADDRESS.fullmatch(node.value):
            yield node.lineno, node.value.partition(":")[0]


def file_named(name: str, files: Iterable[str]) -> str | None:
    """The module that a dotted name lies in: itself, or what its last part is taken from."""
    return name if name in files else parent if (parent := name.rpartition(".")[0]) in files else None


@cache
def arrows() -> dict[str, list[tuple[int, str]]]:
    """Module -> line and module of everything of ours that it names."""
    found: dict[str, list[tuple[int, str]]] = {}
    for module, path in FILES.items():
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        named = named_by(ast.parse(path.read_text(encoding="utf-8")), package)
        targets = ((line, file_named(name, FILES)) for line, name in named)
        found[module] = [(line, target) for line, target in targets if target and target != module]
    return found


def circle(graph: Mapping[str, Iterable[str]]) -> list[str]:
    """What is left when all that names nothing left is taken away: empty if there is no circle."""
    left = dict(graph)
    while ends := [module for module, targets in left.items() if not any(target in left for target in targets)]:
        for module in ends:
            del left[module]
    return sorted(left)


@pytest.mark.parametrize("package", PACKAGES)
def test_no_circle(package: str) -> None:
    graph = {
        module: [target for _, target in found] for module, found in arrows().items() if module.split(".")[0] == package
    }
    assert not circle(graph)


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_know_only_whom_they_may(package: str) -> None:
    forbidden = set(PACKAGES) - ALLOWED[package] - {package}
    wrong = [
        f"{module}:{line} {target}"
        for module, found in arrows().items()
        for line, target in found
        if module.split(".")[0] == package and target.split(".")[0] in forbidden
    ]
    assert not wrong, f"{package} may not name these: {wrong}"


@pytest.mark.parametrize(
    "contract", [each for each in CONTRACTS if each["type"] == "layers"], ids=lambda each: each["name"]
)
def test_no_arrow_upward(contract: dict[str, Any]) -> None:
    (container,) = contract["containers"]
    floors, alone = floors_of(contract["layers"])
    wrong: list[str] = []
    for module, found in arrows().items():
        own = below(module, container)
        for line, target in found:
            other = below(target, container)
            if own in floors and other in floors and not may_name(own, other, floors, alone):
                wrong.append(f"{module}:{line} {target}")
    assert not wrong, wrong


def floors_of(layers: list[str]) -> tuple[dict[str, int], set[str]]:
    """Name -> height of its floor, and the names whose neighbours on the floor are strangers (``|``)."""
    floors = {name: -place for place, names in enumerate(layers) for name in re.split(r" [|:] ", names)}
    return floors, {name for names in layers if "|" in names for name in names.split(" | ")}


def below(module: str, container: str) -> str:
    """The part of a module's name that stands under a container; empty outside it."""
    return module.removeprefix(f"{container}.").split(".")[0] if module.startswith(f"{container}.") else ""


def may_name(own: str, other: str, floors: Mapping[str, int], alone: set[str]) -> bool:
    """Whether the part ``own`` may name the part ``other``."""
    return own == other or floors[other] < floors[own] or (floors[other] == floors[own] and own not in alone)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import dynaip.cli.app", "dynaip.cli.app"),
        ("def f():\n    from dynaip.cli import app", "dynaip.cli.app"),
        ("from ..cli import app", "dynaip.cli.app"),
        ("from . import execute", "dynaip.ablation.execute"),
        ("from .execute import run", "dynaip.ablation.execute.run"),
        ("import_module('dynaip.cli.app')", "dynaip.cli.app"),
        ("TARGET = 'dynaip.cli.app:main'", "dynaip.cli.app"),
    ],
)
def test_every_way_of_naming_is_seen(source: str, found: str) -> None:
    assert found in [name for _, name in named_by(ast.parse(source), "dynaip.ablation")]


def test_a_planted_circle_and_a_planted_arrow_are_seen() -> None:
    assert circle({"a": ["b"], "b": ["c"], "c": ["a", "d"], "d": [], "e": ["a"]}) == ["a", "b", "c", "e"]
    floors, alone = floors_of(["cli", "left | right", "one : two", "errors"])
    seen = {(own, other) for own in floors for other in floors if may_name(own, other, floors, alone)}
    assert ("errors", "cli") not in seen and ("left", "right") not in seen
    assert {("cli", "errors"), ("one", "two"), ("two", "one"), ("left", "left")} <= seen
