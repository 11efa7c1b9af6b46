"""A small ablation on the tiny models, with components of one's own from a plugin file."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from subprocess import DEVNULL
from types import SimpleNamespace
from typing import Any

import pytest

from tests.forked import Forked
from tests.tiny_experiment import tiny_parts

PLUGIN = '''
"""A fusion strategy, an encoder, a policy and a metric of one's own, in one file."""
import numpy as np
import torch
from torch import nn
from dynaip.config import ComponentConfig, PolicyConfig
from dynaip.contracts import BranchWeights, DecouplingPolicy, FeatureFusion, FusedReference, Metric, VisualEncoder
from dynaip.registry import Component, hookimpl


class Nothing(ComponentConfig):
    """No options."""


class Half(PolicyConfig):
    """No options."""

    def training_part(self):
        return {"image": 1.0, "text": 1.0}


class LastLevel(FeatureFusion):
    """One linear layer on the last level."""

    def __init__(self, config, *, widths, dim, condition_dim=None):
        super().__init__()
        self.level = list(widths)[-1]
        self.linear = nn.Linear(widths[self.level], dim)

    def forward(self, levels, *, coefficients=None, condition=None):
        return FusedReference(self.linear(levels[self.level]))


class Pixels(VisualEncoder):
    """Mean colours of a 4 x 4 grid."""

    def __init__(self, config):
        super().__init__()
        self.levels, self.widths, self.grid = {"low": 0}, {"low": 3}, (4, 4)
        self.scale = nn.Parameter(torch.ones(()))

    def preprocess(self, images):
        return torch.stack([torch.from_numpy(np.asarray(image.resize((4, 4)), dtype=np.float32) / 255) for image in images])

    def forward(self, pixels):
        return {"low": self.scale * pixels.flatten(1, 2)}

    def signature(self):
        return {"model": "pixels"}


class HalfPolicy(DecouplingPolicy):
    """The image branch at half weight."""

    def __init__(self, config):
        pass

    def weights(self, phase, *, block, blocks, progress):
        return BranchWeights(1.0, 1.0) if phase == "training" else BranchWeights(0.5, 0.0)

    def branches(self, phase):
        return frozenset({"image", "text"}) if phase == "training" else frozenset({"image"})


class Colour(Metric):
    """Red and green of an image stand for CP and PF."""

    columns = ("cp", "pf")

    def __init__(self, config):
        pass

    def score(self, cases, images):
        means = [np.asarray(image, dtype=float).mean((0, 1)) / 255 for image in images]
        return [{"cp": float(mean[0]), "pf": float(mean[1])} for mean in means]


@hookimpl
def dynaip_components():
    return [
        Component("fusion", "last", LastLevel, Nothing),
        Component("encoder", "pixels", Pixels, Nothing),
        Component("decoupling", "half", HalfPolicy, Half),
        Component("metric", "colour", Colour, Nothing),
    ]
'''


@pytest.fixture
def forked_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The local executor's processes import nothing anew: each is forked from one that has the libraries."""
    from dynaip_plugins.executors.local import model

    monkeypatch.setattr(model, "subprocess", SimpleNamespace(Popen=Forked, DEVNULL=DEVNULL))


@pytest.fixture(scope="session")
def plugin_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file a session, whoever asks for it: two files of one name are refused."""
    path = tmp_path_factory.getbasetemp() / "components_of_ones_own.py"
    path.write_text(PLUGIN)
    return path


@pytest.fixture
def ablation_file(
    tmp_path: Path, plugin_file: Path, tiny_flux_folder: Path, tiny_clip_folder: Path
) -> Callable[..., Path]:
    """Write an ablation's YAML; ``extra`` is added at its end."""
    return partial(written, tmp_path, plugin_file, tiny_flux_folder, tiny_clip_folder)


def written(
    folder: Path, plugin: Path, flux: Path, clip: Path, extra: dict[str, Any] | None = None, **training: Any
) -> Path:
    """The YAML of an ablation in a folder, and its base beside it."""
    import yaml

    base = tiny_parts(flux, clip) | {
        "source": {"use": "microworld", "size": 16, "pixels": 64},
        "training": {"steps": 4, "batch_size": 4, "learning_rate": 0.01, "checkpoint_every": 2, **training},
        "evaluation": {
            "benchmark": {"use": "microworld", "single": 3, "multi2": 2},
            "suites": ["single", "multi2"],
            "metrics": ["colour"],
            "batch_size": 2,
            "options": {"num_inference_steps": 1},
        },
        "plugins": [str(plugin)],
    }
    file, path = folder / "base.yaml", folder / "ablation.yaml"
    file.write_text(yaml.safe_dump(base))
    default = {
        "base": str(file),
        "plugins": [str(plugin)],
        "axes": {"decoupling": ["dynamic", "coupled"]},
        "jobs": 2,
    }
    path.write_text(yaml.safe_dump(default | (extra or {})))
    return path
