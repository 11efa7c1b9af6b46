"""Synthetic weights in the public layouts, and tiny towers for their encoders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

EMBEDDING = 12


@pytest.fixture(scope="session")
def clip_projection_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIPVisionModelWithProjection: 32 pixels, an embedding of 12 numbers."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(11)
    shape = CLIPVisionConfig(
        hidden_size=24, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8,
        projection_dim=EMBEDDING,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("towers") / "clip"
    CLIPVisionModelWithProjection(shape).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def siglip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SiglipVisionModel: 32 pixels, width 12."""
    from transformers import SiglipVisionConfig, SiglipVisionModel

    torch.manual_seed(12)
    shape = SiglipVisionConfig(
        hidden_size=EMBEDDING,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
    )
    folder = tmp_path_factory.mktemp("towers") / "siglip"
    SiglipVisionModel(shape).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def bare_flux_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """A FLUX pipeline without text encoders whose prompts are so wide; 3 double and 2 single blocks, 2 heads of 16."""
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    made: dict[int, Path] = {}

    def make(prompt_width: int) -> Path:
        if prompt_width not in made:
            torch.manual_seed(13)
            transformer = FluxTransformer2DModel(
                in_channels=16, num_layers=3, num_single_layers=2, attention_head_dim=16, num_attention_heads=2,
                joint_attention_dim=prompt_width, pooled_projection_dim=8, axes_dims_rope=(4, 6, 6),
            )  # fmt: skip
            vae = AutoencoderKL(latent_channels=4, block_out_channels=(4,), norm_num_groups=1, sample_size=32)
            pipe = FluxPipeline(
                FlowMatchEulerDiscreteScheduler(), vae, None, None, None, None, transformer, None, None
            )  # fmt: skip
            made[prompt_width] = tmp_path_factory.mktemp("models") / f"flux-{prompt_width}"
            pipe.save_pretrained(made[prompt_width])
        return made[prompt_width]

    return make


def make_xlabs(tokens: int, token_width: int, *, blocks: int = 3, width: int = 32, seed: int = 0) -> dict[str, Tensor]:
    """Random weights under XLabs's names."""
    chance = torch.Generator().manual_seed(seed)

    def random(*shape: int, scale: float = 0.3) -> Tensor:
        return torch.randn(*shape, generator=chance) * scale

    weights: dict[str, Tensor] = {}
    for number in range(blocks):
        for part in ("k", "v"):
            name = f"double_blocks.{number}.processor.ip_adapter_double_stream_{part}_proj"
            weights[f"{name}.weight"] = random(width, token_width, scale=token_width**-0.5)
            weights[f"{name}.bias"] = random(width)
    return weights | {
        "ip_adapter_proj_model.proj.weight": random(tokens * token_width, EMBEDDING),
        "ip_adapter_proj_model.proj.bias": random(tokens * token_width),
        "ip_adapter_proj_model.norm.weight": 1 + random(token_width),
        "ip_adapter_proj_model.norm.bias": random(token_width),
    }


def make_instantx(tokens: int = 8, token_width: int = 24, *, blocks: int = 5, width: int = 32) -> dict[str, Any]:
    """Random weights in InstantX's two dicts."""
    chance = torch.Generator().manual_seed(1)

    def random(*shape: int, scale: float = 0.3) -> Tensor:
        return torch.randn(*shape, generator=chance) * scale

    pairs = {f"{i}.to_{part}_ip.weight": random(width, token_width) for i in range(blocks) for part in ("k", "v")}
    projection = {
        "proj.0.weight": random(2 * EMBEDDING, EMBEDDING),
        "proj.0.bias": random(2 * EMBEDDING),
        "proj.2.weight": random(tokens * token_width, 2 * EMBEDDING),
        "proj.2.bias": random(tokens * token_width),
        "norm.weight": 1 + random(token_width),
        "norm.bias": random(token_width),
    }
    return {"image_proj": projection, "ip_adapter": pairs}


@pytest.fixture(scope="session")
def xlabs_weights() -> Callable[..., dict[str, Tensor]]:
    """Make random weights under XLabs's names."""
    return make_xlabs


@pytest.fixture(scope="session")
def instantx_weights() -> Callable[..., dict[str, Any]]:
    """Make random weights in InstantX's two dicts."""
    return make_instantx


@pytest.fixture(scope="session")
def load_flux() -> Callable[[Path], Any]:
    """Load a pipeline without text encoders."""
    from diffusers import FluxPipeline

    none = ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")

    def load(folder: Path) -> Any:
        pipe = FluxPipeline.from_pretrained(folder, **dict.fromkeys(none))
        pipe.set_progress_bar_config(disable=True)
        return pipe

    return load
