"""Tiny random vision towers of the true classes, saved as their folders on the hub are, and a loop by hand for each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    RadioConfig,
    RadioModel,
    Siglip2VisionConfig,
    Siglip2VisionModel,
    SiglipVisionConfig,
    SiglipVisionModel,
    ViTConfig,
    ViTModel,
)

SHAPE: dict[str, Any] = {
    "hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 32,
    "patch_size": 8,
}  # fmt: skip
SQUEEZED = {"size": {"height": 32, "width": 32}, "resample": 2}
MIDDLE = {
    "size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}, "do_center_crop": True, "resample": 3,
}  # fmt: skip
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
HALVES = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}


def _clip(model: Any, pixels: Tensor) -> Tensor:
    return model.pre_layrnorm(model.embeddings(pixels))


def _first(name: str) -> Callable[[Any, Tensor], Tensor]:
    return lambda model, pixels: getattr(model, name)(pixels)


NAFLEX = {name: value for name, value in SHAPE.items() if name != "image_size"} | {"num_patches": 16}


def _naflex(model: Any, pixels: Tensor) -> Tensor:
    """Patches by two loops, each by its rows, columns and colours."""
    edge = pixels.shape[-1] // 8
    cut = [pixels[:, :, y * 8 : y * 8 + 8, x * 8 : x * 8 + 8] for y in range(edge) for x in range(edge)]
    rows = torch.stack([each.permute(0, 2, 3, 1).flatten(1) for each in cut], dim=1)
    return model.embeddings(rows, torch.tensor([[edge, edge]] * len(pixels)))


def _radio(model: Any, pixels: Tensor) -> Tensor:
    return model.embeddings(model.input_conditioner(pixels))


class Kind:
    """A family: how one is made, its preprocessor's file, tokens before the patches, and the loop by hand."""

    def __init__(
        self,
        make: Callable[[], Any],
        settings: dict[str, Any] | None,
        prefix: int,
        start: Callable[[Any, Tensor], Tensor],
        layers: Callable[[Any], Any],
        extra: Callable[[Any, Tensor], dict[str, Any]] = lambda model, pixels: {},
    ) -> None:
        self.make, self.settings, self.prefix, self.start, self.layers, self.extra = (
            make, settings, prefix, start, layers, extra,
        )  # fmt: skip

    @torch.no_grad()
    def by_hand(self, model: Any, pixels: Tensor) -> list[Tensor]:
        """Patch tokens before the first layer and after each."""
        hidden, extra = self.start(model, pixels), self.extra(model, pixels)
        states = [hidden]
        for layer in self.layers(model):
            out = layer(hidden, **extra)
            hidden = out[0] if isinstance(out, tuple) else out
            states.append(hidden)
        return [state[:, self.prefix :] for state in states]


KINDS = {
    "clip": Kind(
        lambda: CLIPVisionModel(CLIPVisionConfig(**SHAPE)), MIDDLE | HALVES, 1, _clip,
        lambda model: model.encoder.layers, lambda model, pixels: {"attention_mask": None},
    ),
    "naflex": Kind(
        lambda: Siglip2VisionModel(Siglip2VisionConfig(**NAFLEX)), {"resample": 2, "patch_size": 8} | HALVES, 0, _naflex,
        lambda model: model.encoder.layers, lambda model, pixels: {"attention_mask": None},
    ),
    "siglip": Kind(
        lambda: SiglipVisionModel(SiglipVisionConfig(**SHAPE)), SQUEEZED | HALVES, 0, _first("embeddings"),
        lambda model: model.encoder.layers, lambda model, pixels: {"attention_mask": None},
    ),
    "dino": Kind(
        lambda: ViTModel(ViTConfig(**SHAPE), add_pooling_layer=False),
        {"size": 32, "resample": 2} | IMAGENET, 1, _first("embeddings"),
        lambda model: next(each for each in model.modules() if isinstance(each, torch.nn.ModuleList)),
    ),
    "dinov2": Kind(
        lambda: Dinov2Model(Dinov2Config(**SHAPE, mlp_ratio=2)), MIDDLE | IMAGENET, 1, _first("embeddings"),
        lambda model: model.encoder.layer,
    ),
    "dinov2_registers": Kind(
        lambda: Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**SHAPE, mlp_ratio=2, num_register_tokens=4)),
        MIDDLE | IMAGENET, 5, _first("embeddings"), lambda model: model.encoder.layer,
    ),
    "dinov3": Kind(
        lambda: DINOv3ViTModel(DINOv3ViTConfig(**SHAPE, num_register_tokens=3)), SQUEEZED | IMAGENET, 4,
        _first("embeddings"), lambda model: model.model.layer,
        lambda model, pixels: {"position_embeddings": model.rope_embeddings(pixels)},
    ),
    "radio": Kind(
        lambda: RadioModel(
            RadioConfig(
                hidden_size=24, num_hidden_layers=3, num_attention_heads=2, image_size=32, patch_size=8,
                max_img_size=64, mlp_ratio=2.0, num_cls_tokens=2, num_registers=3, summary_idxs=[0],
            )
        ),
        None, 5, _radio, lambda model: model.encoder.layer,
    ),
}  # fmt: skip


def save(name: str, folder: Path, seed: int = 5) -> Any:
    """Make a tower with weights that all matter, write it with its preprocessor's config, and give it."""
    torch.manual_seed(seed)
    kind = KINDS[name]
    model = kind.make().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3 if parameter.ndim > 1 else 0.5)
    model.save_pretrained(folder)
    if kind.settings is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(kind.settings))
    return model
