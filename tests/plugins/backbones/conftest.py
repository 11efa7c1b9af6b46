"""Every family of models, loaded once a session, and an adapter for any of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from dynaip.adapter.model import DynaIP
from dynaip.config import ComponentSpec, parse_experiment
from dynaip.contracts import Backbone
from dynaip.registry import registry
from tests import tiny_models

LENGTH = 24
"""Text tokens of a prompt."""


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of a tiny pipeline by the name of its model."""
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            made[name] = tiny_models.save(name, tmp_path_factory.mktemp("tiny") / name)
        return made[name]

    return folder


@pytest.fixture(scope="session")
def fresh(tiny_folder: Callable[[str], Path]) -> Callable[..., tuple[Backbone, Any]]:
    """A backbone by its registry name, and the pipeline that it loads from disk."""

    def load(name: str, dtype: torch.dtype = torch.float32, **options: Any) -> tuple[Backbone, Any]:
        raw = {"use": tiny_models.FAMILIES[name][0], "model": str(tiny_folder(name)), "max_sequence_length": LENGTH}
        backbone: Backbone = registry().build(ComponentSpec.parse("backbone", raw | options))
        pipe = backbone.load(device="cpu", dtype=dtype)
        pipe.set_progress_bar_config(disable=True)
        return backbone, pipe

    return load


@pytest.fixture(scope="session")
def loaded(fresh: Callable[..., tuple[Backbone, Any]]) -> Callable[[str], tuple[Backbone, Any]]:
    """Like ``fresh``, but one pipeline for the whole session: leave it as it was."""
    made: dict[str, tuple[Backbone, Any]] = {}

    def load(name: str) -> tuple[Backbone, Any]:
        if name not in made:
            made[name] = fresh(name)
        return made[name]

    return load


@pytest.fixture
def untrained(tiny_clip_folder: Path) -> Callable[..., DynaIP]:
    """Make an adapter whose V is not zero for a backbone's transformer; both branches are open."""

    def make(backbone: Backbone, transformer: Any, **settings: Any) -> DynaIP:
        family = str(backbone.signature(transformer)["family"])
        config = parse_experiment(
            {
                "backbone": {"use": family},
                "encoder": {"use": "clip", "model": str(tiny_clip_folder), "levels": {"low": 1, "mid": 2, "high": 4}},
                "fusion": "hmoe",
                "decoupling": "coupled",
                "adapter": {"token_width": 16} | settings,
                "source": {"use": "microworld", "size": 24, "pixels": 64},
                "training": {"steps": 1, "batch_size": 1, "learning_rate": 1e-3},
            }
        )
        torch.manual_seed(9)
        dyna = DynaIP.build(config, transformer).eval()
        with torch.no_grad():
            for name, parameter in dyna.attention.named_parameters():
                if "to_v" in name:
                    parameter.normal_(std=0.3)
        return dyna

    return make


@pytest.fixture
def attached(untrained: Callable[..., DynaIP]) -> Iterator[Callable[..., DynaIP]]:
    """Attach an adapter to a pipeline; afterwards the pipeline is the base again."""
    made: list[DynaIP] = []

    def make(backbone: Backbone, pipe: Any, **settings: Any) -> DynaIP:
        made.append(untrained(backbone, pipe.transformer, **settings).attach(pipe))
        return made[-1]

    yield make
    for dyna in made:
        dyna.detach()
