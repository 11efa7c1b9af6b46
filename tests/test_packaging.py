"""The source distribution: it holds what its own tests need, and they pass from it alone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from dynaip.registry import registry
from dynaip.version import __version__
from tests import release

ROOT = Path(__file__).parents[1]
NEEDED = (
    *("README.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "constraints.txt", "mkdocs.yml", "pyproject.toml"),
    *(".ci/run", ".pre-commit-config.yaml", "plugins/template/pyproject.toml", "docs/concepts/method.md"),
    "notebooks/01_first_image.ipynb",
    "examples/star.png",
)
QUICK = ("tests/test_arrows.py", "tests/test_docs.py", "tests/dynaip/registry", "tests/plugins/decoupling")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, built without a network and unpacked."""
    builder = pytest.importorskip("hatchling.builders.sdist").SdistBuilder(str(ROOT))
    folder = tmp_path_factory.mktemp("sdist")
    (archive,) = builder.build(directory=str(folder), versions=["standard"])
    with tarfile.open(archive) as file:
        # Python 3.11.4 brought the filter; before it there is none to ask for.
        file.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    (found,) = [path for path in folder.iterdir() if path.is_dir()]
    return found


def test_it_holds_every_file_of_the_repository(unpacked: Path) -> None:
    """Where there is a repository to compare with; the needed ones in any case."""
    assert not [name for name in NEEDED if not (unpacked / name).is_file()]
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    there = [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
    assert not [name for name in there if not (unpacked / name).is_file()]


def test_its_own_tests_pass_from_it(unpacked: Path) -> None:
    alone = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHONPATH", "PYTEST_"))}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *QUICK]
    done = subprocess.run(command, cwd=unpacked, env=alone, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_wheel_holds_the_three_packages_and_stays_small(tmp_path: Path) -> None:
    builder = pytest.importorskip("hatchling.builders.wheel").WheelBuilder(str(ROOT))
    (wheel,) = builder.build(directory=str(tmp_path), versions=["standard"])
    assert Path(wheel).stat().st_size < 20e6
    with zipfile.ZipFile(wheel) as file:
        held = set(file.namelist())
    for base in (ROOT / "dynaip", ROOT / "plugins" / "dynaip_plugins", ROOT / "analysis" / "dynaip_analysis"):
        files = (path for path in base.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        assert not [path for path in files if str(path.relative_to(base.parent)) not in held]
    assert {name.split("/")[0].split("-")[0] for name in held} == {"dynaip", "dynaip_plugins", "dynaip_analysis"}


def test_a_wheel_of_the_sdist_paints_where_nothing_else_of_ours_is(unpacked: Path, tmp_path: Path) -> None:
    (wheel,) = (
        pytest.importorskip("hatchling.builders.wheel").WheelBuilder(str(unpacked)).build(directory=str(tmp_path))
    )
    python = release.environment(tmp_path / "alone", Path(wheel), shared=True)
    assert __version__ in release.run([str(python.with_name("dynaip")), "--version"], tmp_path)
    release.run([str(python), "-c", release.PICTURE], tmp_path)
    assert (tmp_path / "star.png").stat().st_size > 0


def test_version_changelog_and_citation_agree() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
    assert f"\n## {__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert {"cff-version", "message", "title", "authors", "license", "references"} <= set(citation)


def test_every_extra_accepts_the_pinned_versions() -> None:
    """What is installed here is asked what it needs; an extra that is not installed is not checked."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = {canonicalize_name(name): pin for name, _, pin in (line.partition("==") for line in lines if "==" in line)}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [line for extra in project["optional-dependencies"].values() for line in extra] + project["dependencies"]
    named = [Requirement(line) for line in asked]
    unpinned = [one.name for one in named if canonicalize_name(one.name) not in pins]
    pinned = [(name, one, pins[key]) for name, one in needs(named) if (key := canonicalize_name(one.name)) in pins]
    refused = [f"{name} wants {one}" for name, one, pin in pinned if not one.specifier.contains(pin)]
    assert not unpinned and not refused


def needs(named: list[Requirement]) -> Iterator[tuple[str, Requirement]]:
    """What we ask for, and what each of it that is installed asks for in turn."""
    for one in named:
        yield "dynaip", one
        with suppress(PackageNotFoundError):
            for line in requires(one.name) or ():
                need = Requirement(line)
                if need.marker is None or need.marker.evaluate({"extra": ""}):
                    yield one.name, need


def test_every_extra_is_asked_for_somewhere() -> None:
    """By a component, by a target of the Makefile, or by a line that says what is missing."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {entry.component.extra for entry in registry().components()}
    named |= set(re.findall(r"\.\[(\w+)\]", (ROOT / "Makefile").read_text()))
    told = (
        path.read_text(encoding="utf-8")
        for base in ("dynaip", "plugins", "tests")
        for path in (ROOT / base).rglob("*.py")
    )
    named |= {name for text in told for name in re.findall(r"dynaip\[([a-z]+)\]", text)}
    assert set(extras) <= named
