"""Executors of every kind, on this machine: processes, Ray, a stand-in for SLURM, and a true SLURM of one node."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from dynaip.ablation.driver import DrivenExecutor
from dynaip.config import ComponentSpec
from dynaip.registry import registry

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
PATHS = os.pathsep.join(str(ROOT / part) for part in ("", "plugins", "analysis"))
SLURM = {"use": "slurm", "jobs": 2, "cpus": 1, "look": 0.2, "grace": 3, "minutes": 5}
OPTIONS: dict[str, dict[str, Any]] = {
    "local": {"use": "local", "jobs": 2},
    "ray": {"use": "ray", "machine_cpus": 2, "machine_gpus": 2},
    "slurm_stub": SLURM,
    "slurm": SLURM,
}


def needs(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")


@pytest.fixture
def slurm_stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SLURM's commands before all others in ``PATH``."""
    needs("submitit")
    commands = tmp_path / "bin"
    commands.mkdir()
    for name in ("sbatch", "squeue", "scancel", "scontrol", "srun"):
        text = f'#!/bin/sh\nexec {sys.executable} -S {HERE / "slurm_stub.py"} {name} "$@"\n'
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    (tmp_path / "stub").mkdir()
    monkeypatch.setenv("STUB", str(tmp_path / "stub"))
    monkeypatch.setenv("PATH", str(commands), prepend=os.pathsep)


@pytest.fixture(scope="session")
def slurm_conf(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """A SLURM of one node, started once a session; skipped with the reason where it cannot be."""
    needs("submitit")
    if os.geteuid() != 0:
        pytest.skip("a SLURM of one's own is started by root alone")
    folder = tmp_path_factory.mktemp("slurm") / "one"
    command = [sys.executable, str(HERE / "slurm_single_node.py"), str(folder)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        said = " ".join(" ".join(process.communicate()).split())
        pytest.skip(f"no SLURM here: {said[:300]}")
    yield str(folder / "slurm.conf")
    process.communicate()


@pytest.fixture(params=list(OPTIONS))
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of executor."""
    return request.param


@pytest.fixture
def options(kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Options of an executor of that kind; what it needs runs."""
    monkeypatch.setenv("PYTHONPATH", PATHS)
    if kind == "ray":
        needs("ray")
    elif kind == "slurm_stub":
        request.getfixturevalue("slurm_stub")
    elif kind == "slurm":
        monkeypatch.setenv("SLURM_CONF", request.getfixturevalue("slurm_conf"))
    return OPTIONS[kind]


@pytest.fixture
def build(options: dict[str, Any]) -> Callable[[], DrivenExecutor]:
    """Make an executor."""
    return lambda: registry().build(ComponentSpec.parse("executor", options))
