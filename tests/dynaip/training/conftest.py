"""Trainings of tiny models."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest

from tests.forked import Forked
from tests.tiny_experiment import tiny_parts

ROOT = Path(__file__).parents[3]


@pytest.fixture
def train(experiment: Callable[..., Any]) -> Callable[..., Path]:
    """Train on the tiny models in this process; ``training`` changes single settings."""
    from dynaip.training.trainer import train

    def run(folder: Path, *, on_progress: Any = None, warn: Any = print, **given: Any) -> Path:
        options = {name: given.pop(name) for name in ("resume", "allow_changed_data") if name in given}
        given["training"] = settings(**given.get("training", {}))
        return train(experiment(**given), folder, on_progress=on_progress, warn=warn, **options)

    return run


@pytest.fixture(scope="session")
def undisturbed(tiny_flux_folder: Path, tiny_clip_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that ``train(folder)`` gives where nothing is asked for and nothing happens; tests only read it."""
    from dynaip.config import parse_experiment
    from dynaip.training.trainer import train

    source = {"use": "microworld", "size": 24, "pixels": 64}
    raw = tiny_parts(tiny_flux_folder, tiny_clip_folder) | {"source": source, "training": settings()}
    return train(parse_experiment(raw), tmp_path_factory.mktemp("undisturbed") / "run", on_progress=None, warn=print)


def settings(**changes: Any) -> dict[str, Any]:
    """Settings of a short training."""
    return {"steps": 6, "batch_size": 4, "learning_rate": 1e-3, "checkpoint_every": 2, "log_every": 1} | changes


@pytest.fixture
def weights() -> Callable[[Path], dict[str, Any]]:
    """Give the weights of a run's adapter."""
    from safetensors.torch import load_file

    return lambda run: load_file(run / "adapter" / "adapter.safetensors")


@pytest.fixture
def same_weights(weights: Callable[[Path], dict[str, Any]]) -> Callable[[Path, Path], bool]:
    """Whether two runs have the same adapter, bit for bit."""

    def compare(one: Path, other: Path) -> bool:
        first, second = weights(one), weights(other)
        return first.keys() == second.keys() and all(bool((first[name] == second[name]).all()) for name in first)

    return compare


@pytest.fixture
def lines() -> Callable[[Path], list[dict[str, Any]]]:
    """Read JSON lines."""
    return lambda path: [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def script(tmp_path: Path) -> Callable[..., Forked]:
    """Start a Python script in a process of its own; ``names`` are put before it as literals."""

    def start(body: str, **names: Any) -> Forked:
        head = f"import sys; sys.path[:0] = {[str(ROOT / part) for part in ('', 'plugins', 'analysis')]!r}\n"
        head += "".join(f"{name} = {value!r}\n" for name, value in names.items())
        file = tmp_path / "script.py"
        file.write_text(head + body)
        return Forked([sys.executable, str(file)], stdout=PIPE, stderr=PIPE, text=True)

    return start
