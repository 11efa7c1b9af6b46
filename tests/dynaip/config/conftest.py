"""A registry of torch-free stand-ins, so that configs are tested without any model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

import dynaip.registry
from dynaip.config import ComponentConfig, PolicyConfig
from dynaip.registry import Component, Registry


class ModelConfig(ComponentConfig):
    model: str = "tiny"
    levels: dict[str, int] = {"low": 1, "high": 2}


class RouterConfig(ComponentConfig):
    router: Literal["token", "image"] = "token"
    hidden: int = 8


class WideConfig(ComponentConfig):
    width: float = 1.0


class BothConfig(PolicyConfig):
    at_inference: float = 1.0

    def training_part(self) -> dict[str, Any]:
        return {"image": 1.0, "text": 1.0}


class FolderConfig(ComponentConfig):
    folder: Path = Path("pairs")
    extra: list[Path] = []
    note: str = ""


class EmptyConfig(ComponentConfig):
    pass


COMPONENTS = [
    Component("backbone", "flux", object, ModelConfig),
    Component("encoder", "clip", object, ModelConfig),
    Component("fusion", "hmoe", object, RouterConfig),
    Component("fusion", "concat", object, WideConfig),
    Component("decoupling", "dynamic", object, BothConfig),
    Component("decoupling", "coupled", object, BothConfig),
    Component("source", "pairs", object, FolderConfig),
    Component("benchmark", "bench", object, EmptyConfig),
    Component("metric", "oracle", object, EmptyConfig),
]

EXPERIMENT: dict[str, Any] = {
    "backbone": "flux",
    "encoder": "clip",
    "fusion": "hmoe",
    "decoupling": "dynamic",
    "source": "pairs",
    "training": {"steps": 10, "batch_size": 2},
}


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    known = Registry(list)
    for component in COMPONENTS:
        known.register(component, "test")
    monkeypatch.setattr(dynaip.registry, "_current", [known])
    return known


@pytest.fixture
def experiment() -> dict[str, Any]:
    return {key: dict(value) if isinstance(value, dict) else value for key, value in EXPERIMENT.items()}


@pytest.fixture
def write(tmp_path: Path):
    def to_file(name: str, data: Any) -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(data if isinstance(data, str) else yaml.safe_dump(data, sort_keys=False))
        return file

    return to_file
