"""FLUX.1-dev in its true layout with random weights, CLIP ViT-L/14 likewise, and an adapter for the two."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from dynaip.adapter.model import DynaIP, Specs
from dynaip.config import AdapterConfig, ComponentSpec
from dynaip.registry import registry


@dataclass(frozen=True)
class Shape:
    """Sizes of a FLUX transformer and of what it is given."""

    double: int
    single: int
    heads: int
    head: int
    text_width: int
    text: int
    edge: int
    """Pixels along an edge of a generated image."""
    clip_width: int
    token_width: int


FLUX = Shape(19, 38, 24, 128, 4096, 512, 1024, 1024, 2048)
SMALL = Shape(2, 2, 4, 16, 64, 16, 64, 64, 32)
"""The same in small: shows on any machine that the script itself works."""


def make_pipeline(shape: Shape, device: torch.device, dtype: torch.dtype) -> Any:
    """A FluxPipeline without text encoders and autoencoder: prompts are given as embeddings, images come as latents."""
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    torch.manual_seed(0)
    axes = {} if shape.head == 128 else {"axes_dims_rope": (4, 6, 6)}
    with torch.device("meta"):
        transformer = FluxTransformer2DModel(
            num_layers=shape.double, num_single_layers=shape.single, attention_head_dim=shape.head, in_channels=64,
            num_attention_heads=shape.heads, joint_attention_dim=shape.text_width, pooled_projection_dim=768,
            guidance_embeds=True, **axes,
        )  # fmt: skip
    transformer = transformer.to(dtype).to_empty(device=device).requires_grad_(False).eval()
    fill(transformer)
    nn.init.normal_(transformer.proj_out.weight, std=0.02)  # the velocity stays bounded over a generation
    pipe = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True), vae=None, text_encoder=None,
        tokenizer=None, text_encoder_2=None, tokenizer_2=None, transformer=transformer,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


def fill(model: nn.Module) -> None:
    """Random weights of about the size that an initialisation gives, made where the model lies."""
    for name, parameter in model.named_parameters():
        if parameter.ndim >= 2:
            nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
        else:
            nn.init.ones_(parameter)


def save_tower(shape: Shape, folder: Path, device: torch.device, pixels: int = 224) -> Path:
    """A CLIP vision tower of so many pixels with its preprocessor, saved as the public ones are."""
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

    torch.manual_seed(1)
    config = CLIPVisionConfig(
        hidden_size=shape.clip_width, intermediate_size=4 * shape.clip_width, num_hidden_layers=24, num_attention_heads=16,
        image_size=pixels, patch_size=14, projection_dim=768,
    )  # fmt: skip
    with torch.device(device):
        tower = CLIPVisionModel(config)
    tower.save_pretrained(folder)
    size = {"height": pixels, "width": pixels}
    CLIPImageProcessor(size={"shortest_edge": pixels}, crop_size=size).save_pretrained(folder)
    return folder


def make_adapter(shape: Shape, pipe: Any, tower: Path, *, class_token: bool = False) -> DynaIP:
    """The adapter of the recipe ``flux/dynaip``, untrained but for values that are not zero."""
    levels = {"low": 10, "mid": 17, "high": 24}
    named: dict[str, Any] = {
        "backbone": {"use": "flux"},
        "encoder": {"use": "clip", "model": str(tower), "levels": levels, "class_token": class_token, "dtype": "bf16"},
        "fusion": {"use": "hmoe", "router": "token"},
        "decoupling": "dynamic",
    }
    specs = {kind: ComponentSpec.parse(kind, raw) for kind, raw in named.items()}
    parts = Specs(**specs, adapter=AdapterConfig(token_width=shape.token_width, max_references=10))
    torch.manual_seed(2)
    with torch.device(pipe.transformer.device):
        dyna = DynaIP(parts, registry().build(specs["backbone"]).signature(pipe.transformer))
    for pair in dyna.attention.modules():
        if hasattr(pair, "to_v"):
            nn.init.normal_(pair.to_v.weight, std=0.01)  # pyright: ignore[reportArgumentType]
    return dyna.eval()


def pictures(count: int) -> list[Image.Image]:
    """Pictures of a camera's size."""
    return [Image.effect_noise((768, 768), 40 + number).convert("RGB") for number in range(count)]


def prompt_of(shape: Shape, pipe: Any, batch: int = 1) -> dict[str, Tensor]:
    """Random encodings of a prompt."""
    like: dict[str, Any] = {"device": pipe.transformer.device, "dtype": pipe.transformer.dtype}
    return {
        "prompt_embeds": torch.randn(batch, shape.text, shape.text_width, **like),
        "pooled_prompt_embeds": torch.randn(batch, 768, **like),
    }


@dataclass
class Bench:
    """What is measured on: one base, whose adapter is the only one attached at a time."""

    shape: Shape
    device: torch.device
    pipe: Any
    dyna: DynaIP
    prompt: dict[str, Tensor]
    pictures: list[Image.Image]
    rounds: int
    wide: DynaIP | None = None
    """The adapter on another tower, once it is made."""

    def other(self, pixels: int) -> DynaIP:
        """An adapter on a tower of other pixels, with its class token, attached in the place of the first one."""
        if self.wide is None:
            self.dyna.detach()
            self.wide = adapter_on(self.shape, self.device, self.pipe, pixels, class_token=True)
        return self.wide

    def first(self) -> DynaIP:
        """The first adapter, attached again, and the other one forgotten."""
        if self.wide is not None:
            self.wide.detach()
            self.wide = None
            self.dyna.attach(self.pipe)
        return self.dyna


def adapter_on(shape: Shape, device: torch.device, pipe: Any, pixels: int, *, class_token: bool = False) -> DynaIP:
    """An adapter with its own tower, attached."""
    with TemporaryDirectory() as folder:
        tower = save_tower(shape, Path(folder), device, pixels)
        return make_adapter(shape, pipe, tower, class_token=class_token).to(device).attach(pipe)


def bench_of(*, small: bool, rounds: int) -> Bench:
    """FLUX's layout, or a few thousand weights, on the accelerator (or a CPU) with an adapter."""
    shape = SMALL if small else FLUX
    device = torch.accelerator.current_accelerator() or torch.device("cpu")
    pipe = make_pipeline(shape, device, torch.float32 if device.type == "cpu" else torch.bfloat16)
    return Bench(
        shape, device, pipe, adapter_on(shape, device, pipe, 224), prompt_of(shape, pipe), pictures(10), rounds
    )
