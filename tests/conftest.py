"""Tiny random models of the real classes, saved to disk once a session, and an experiment that uses them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tiny_experiment import tiny_parts


@pytest.fixture(scope="session")
def tiny_flux_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A FLUX pipeline folder: 2 double and 1 single blocks, 4 heads of 32, images of 64 x 64 pixels."""
    import torch
    from diffusers import AutoencoderKL

    from dynaip_plugins.microworld.models import pipeline
    from dynaip_plugins.microworld.models.flux import Base

    torch.manual_seed(7)
    vae = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        block_out_channels=(8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        norm_num_groups=4,
        sample_size=64,
        mid_block_add_attention=False,
        use_quant_conv=False,
        use_post_quant_conv=False,
        scaling_factor=0.5,
        shift_factor=0.1,
    )
    folder = tmp_path_factory.mktemp("models") / "flux"
    pipeline.save(pipeline.assemble(Base(double_blocks=2, single_blocks=1, heads=4, latent_channels=4), vae), folder)
    return folder


@pytest.fixture
def tiny_flux(tiny_flux_folder: Path) -> Any:
    """A fresh copy of the tiny pipeline, in float32."""
    import torch

    from dynaip_plugins.backbones.flux.config import FluxConfig
    from dynaip_plugins.backbones.flux.model import FluxBackbone

    return FluxBackbone(FluxConfig(model=str(tiny_flux_folder))).load(device="cpu", dtype=torch.float32)


@pytest.fixture(scope="session")
def tiny_clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIPVisionModel folder: 32 pixels, patches of 8, 4 layers of width 24."""
    import torch
    from transformers import CLIPVisionConfig, CLIPVisionModel

    torch.manual_seed(8)
    folder = tmp_path_factory.mktemp("models") / "clip"
    shape = CLIPVisionConfig(
        hidden_size=24,
        intermediate_size=48,
        num_hidden_layers=4,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
        projection_dim=16,
    )
    CLIPVisionModel(shape).save_pretrained(folder)
    return folder


@pytest.fixture
def experiment(tiny_flux_folder: Path, tiny_clip_folder: Path) -> Callable[..., Any]:
    """Make an experiment on the tiny models; keyword arguments replace whole sections."""
    from dynaip.config import parse_experiment

    def make(**sections: Any) -> Any:
        raw = tiny_parts(tiny_flux_folder, tiny_clip_folder) | {
            "source": {"use": "microworld", "size": 24, "pixels": 64},
            "training": {"steps": 6, "batch_size": 4, "learning_rate": 1e-3, "checkpoint_every": 2, "log_every": 1},
        }
        return parse_experiment(raw | sections)

    return make


@pytest.fixture
def adapter(experiment: Callable[..., Any], tiny_flux: Any) -> Callable[..., Any]:
    """Make an adapter whose V is not zero, so that it changes the image; it is attached to ``tiny_flux``."""
    import torch

    from dynaip.adapter.model import DynaIP

    def make(*, attach: bool = True, **sections: Any) -> Any:
        torch.manual_seed(9)
        dyna = DynaIP.build(experiment(**sections), tiny_flux.transformer).eval()
        with torch.no_grad():
            for name, parameter in dyna.attention.named_parameters():
                if "to_v" in name:
                    parameter.normal_(std=0.3)
        return dyna.attach(tiny_flux) if attach else dyna

    return make
