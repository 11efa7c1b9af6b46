"""Sizes of the targets: the backbone's own unless one is given, refused before anything is loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dynaip.config import ExperimentConfig, parse_experiment
from dynaip.errors import InputError
from dynaip.training.sizes import settled
from tests.tiny_models import save


def config(backbone: dict[str, Any], **source: Any) -> ExperimentConfig:
    return parse_experiment(
        {
            "backbone": backbone, "encoder": "clip", "fusion": "hmoe", "decoupling": "dynamic",
            "source": {"use": "pairs", "folder": "/somewhere", **source},
            "training": {"steps": 1, "batch_size": 1},
        }
    )  # fmt: skip


FAMILIES = ("flux", "sd3", "qwen_image", "flux2")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_size_that_the_family_cannot_paint_is_one_line(family: str) -> None:
    """Models that are not on this machine: what is known of the family decides."""
    model = {"use": family, "model": "nobody/has-this"}
    for height, width in ((60, 64), (64, 60), (1024, 1000), (8, 8)):
        with pytest.raises(InputError, match=f"{height} x {width} .* multiples of 16") as caught:
            settled(config(model, height=height, width=width))
        assert "\n" not in str(caught.value)
    for height, width in ((64, 64), (1024, 768)):
        assert settled(config(model, height=height, width=width)).config.model_dump()["width"] == width


@pytest.mark.parametrize("family", FAMILIES)
def test_a_size_that_is_left_open_is_the_backbone_s_own(family: str) -> None:
    found: Any = settled(config({"use": family, "model": "nobody/has-this"})).config
    assert found.target_size() == (1024, 1024)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_rule_is_that_of_the_pipeline_itself(family: str, tmp_path: Path) -> None:
    """What the config says without loading is what the loaded model does."""
    from dynaip.registry import registry

    folder = tmp_path / family
    save(family, folder)
    made = config({"use": family, "model": str(folder)}, height=64, width=64)
    backbone: Any = registry().build(made.backbone)
    pipe = backbone.load(device="cpu", dtype=None)
    edge: int = made.backbone.config.size_multiple()  # pyright: ignore[reportAttributeAccessIssue]
    backbone.tokens(pipe, (2 * edge, 3 * edge))
    for size in ((edge + 1, edge), (edge, edge // 2)):
        with pytest.raises(InputError):
            backbone.tokens(pipe, size)
        with pytest.raises(InputError, match=r"source\.height x source\.width"):
            settled(config({"use": family, "model": str(folder)}, height=size[0], width=size[1]))
    own: Any = settled(config({"use": family, "model": str(folder)})).config
    rows, columns = backbone.tokens(pipe, own.target_size())
    assert rows == columns


def test_microworld_s_own_size() -> None:
    found: Any = settled(config({"use": "flux", "model": "microworld"})).config
    pipe_size = found.target_size()
    assert pipe_size == (pipe_size[0], pipe_size[0])
    assert pipe_size[0] < 512, "not what real models take"


def test_other_sources_are_left_as_they_are(experiment: Any) -> None:
    made = experiment()
    assert settled(made) == made.source


def test_check_refuses_it_without_loading_torch(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(config({"use": "sd3", "model": "nobody/has-this"}, height=60, width=64).to_yaml())
    program = (
        "import sys\nfrom dynaip.cli.app import main\n"
        "code = main(['check', sys.argv[1]])\nprint(code, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(file)], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["2", "False"], done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "multiples of 16" in done.stderr


def test_train_refuses_it_before_anything_is_loaded(tmp_path: Path) -> None:
    from dynaip.training.trainer import train

    with pytest.raises(InputError, match="multiples of 16"):
        train(config({"use": "flux", "model": "nobody/has-this"}, height=60, width=64), tmp_path / "run")
    assert not (tmp_path / "run" / "config.yaml").exists()
