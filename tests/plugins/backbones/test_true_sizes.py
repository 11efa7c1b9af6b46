"""The published configurations at full size, on the meta device: shapes, names and numbers of parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from diffusers import (
    Flux2Transformer2DModel,
    FluxTransformer2DModel,
    QwenImageTransformer2DModel,
    SD3Transformer2DModel,
)
from torch import Tensor

from dynaip.adapter.attention import ReferenceAttention, attend, merge_heads
from dynaip.adapter.parts import chosen_blocks
from dynaip.config import AdapterConfig, ComponentSpec
from dynaip.contracts import Backbone
from dynaip.registry import registry

GRID = (40, 56)
TEXT, TOKENS, TOKEN_WIDTH = 77, 577, 2048


@dataclass(frozen=True)
class Published:
    """A model as its makers describe it."""

    family: str
    kind: type[Any]
    config: dict[str, Any]
    width: int
    heads: int
    double: int
    single: int
    billions: float
    """Parameters of the transformer in billions, as published (rounded; those of SD3 without its table of positions)."""


SD3 = {"sample_size": 128, "joint_attention_dim": 4096, "pooled_projection_dim": 2048, "in_channels": 16}
MEDIUM = SD3 | {"num_layers": 24, "num_attention_heads": 24, "caption_projection_dim": 1536}
LARGE = SD3 | {"num_layers": 38, "num_attention_heads": 38, "caption_projection_dim": 2432}
KLEIN = {"guidance_embeds": False}
MODELS = {
    "FLUX.1-dev": Published(
        "flux", FluxTransformer2DModel, {"guidance_embeds": True}, 3072, 24, 19, 38, 11.901
    ),
    "FLUX.1-schnell": Published(
        "flux", FluxTransformer2DModel, {"guidance_embeds": False}, 3072, 24, 19, 38, 11.891
    ),
    "SD3-medium": Published(
        "sd3", SD3Transformer2DModel, MEDIUM | {"pos_embed_max_size": 192}, 1536, 24, 24, 0, 2.03
    ),
    "SD3.5-medium": Published(
        "sd3", SD3Transformer2DModel,
        MEDIUM | {"pos_embed_max_size": 384, "qk_norm": "rms_norm", "dual_attention_layers": tuple(range(13))},
        1536, 24, 24, 0, 2.24,
    ),
    "SD3.5-large": Published(
        "sd3", SD3Transformer2DModel, LARGE | {"pos_embed_max_size": 192, "qk_norm": "rms_norm"}, 2432, 38, 38, 0, 8.06
    ),
    "Qwen-Image": Published("qwen_image", QwenImageTransformer2DModel, {}, 3072, 24, 60, 0, 20.43),
    "FLUX.2-dev": Published("flux2", Flux2Transformer2DModel, {}, 6144, 48, 8, 48, 32.2),
    "FLUX.2-klein-4B": Published(
        "flux2", Flux2Transformer2DModel,
        KLEIN | {"num_layers": 5, "num_single_layers": 20, "num_attention_heads": 24, "joint_attention_dim": 7680},
        3072, 24, 5, 20, 3.88,
    ),
    "FLUX.2-klein-9B": Published(
        "flux2", Flux2Transformer2DModel,
        KLEIN | {"num_layers": 8, "num_single_layers": 24, "num_attention_heads": 32, "joint_attention_dim": 12288},
        4096, 32, 8, 24, 9.08,
    ),
}  # fmt: skip
every = pytest.mark.parametrize("name", list(MODELS))


def made(name: str) -> tuple[Published, Backbone, Any]:
    model = MODELS[name]
    with torch.device("meta"):
        transformer = model.kind(**model.config)
    return model, registry().build(ComponentSpec.parse("backbone", model.family)), transformer


@every
def test_names_and_numbers(name: str) -> None:
    model, backbone, transformer = made(name)
    count = sum(parameter.numel() for parameter in transformer.parameters()) / 1e9
    assert count == pytest.approx(model.billions, rel=0.01)
    signature = backbone.signature(transformer)
    assert signature["family"] == model.family
    assert [signature[key] for key in ("width", "heads", "double_blocks", "single_blocks")] == [
        model.width, model.heads, model.double, model.single,
    ]  # fmt: skip
    sites = backbone.blocks(transformer)
    assert [site.name for site in sites] == [
        *(f"transformer_blocks.{number}" for number in range(model.double)),
        *(f"single_transformer_blocks.{number}" for number in range(model.single)),
    ]


def inputs(model: Published, transformer: Any) -> dict[str, Any]:
    """Arguments for an image of 40 x 56 tokens."""
    config = transformer.config
    given: dict[str, Any] = {
        "hidden_states": torch.empty(1, GRID[0] * GRID[1], config.in_channels, device="meta"),
        "encoder_hidden_states": torch.empty(1, TEXT, config.joint_attention_dim, device="meta"),
        "timestep": torch.empty(1, device="meta"),
        "return_dict": False,
    }
    if model.family == "sd3":
        given["hidden_states"] = torch.empty(1, config.in_channels, 2 * GRID[0], 2 * GRID[1], device="meta")
    if model.family in ("sd3", "flux"):
        given["pooled_projections"] = torch.empty(1, config.pooled_projection_dim, device="meta")
    if model.family in ("flux", "flux2"):
        ids = 3 if model.family == "flux" else 4
        given["img_ids"] = torch.empty(GRID[0] * GRID[1], ids, device="meta")
        given["txt_ids"] = torch.empty(TEXT, ids, device="meta")
        given["guidance"] = torch.empty(1, device="meta") if config.guidance_embeds else None
    if model.family == "qwen_image":
        given["img_shapes"] = [[(1, *GRID)]]
    return given


@every
def test_reference_attention_fits_every_block(name: str) -> None:
    """Queries as the full-size model makes them; keys and values of the adapter; terms as wide as the streams."""
    model, backbone, transformer = made(name)
    settings = AdapterConfig(token_width=TOKEN_WIDTH, single_stream="image_tokens")
    numbers = chosen_blocks(settings, backbone.signature(transformer))
    with torch.device("meta"):
        attention = ReferenceAttention(len(numbers), token_width=TOKEN_WIDTH, width=model.width, heads=model.heads)
    assert len(numbers) == model.double + model.single
    for branch in ("image", "text"):
        count = sum(parameter.numel() for parameter in attention.parameters_of([branch]))
        assert count == len(numbers) * 2 * TOKEN_WIDTH * model.width
    assert dict(attention.named_parameters())["branches.image.0.to_k.weight"].shape == (model.width, TOKEN_WIDTH)

    sites = backbone.blocks(transformer)
    shapes: dict[tuple[int, str], Tensor] = {}
    handles = [
        module.register_forward_hook(
            lambda module, args, output, key=(number, branch): shapes.__setitem__(key, output)
        )
        for number, site in enumerate(sites)
        for branch, module in site.queries.items()
    ]  # fmt: skip
    with torch.no_grad():
        transformer(**inputs(model, transformer))
    for handle in handles:
        handle.remove()
    lengths = {"image": GRID[0] * GRID[1], "text": TEXT}
    key, value = attention.pair("image", 0)(torch.empty(1, TOKENS, TOKEN_WIDTH, device="meta"))
    for (number, branch), query in shapes.items():
        heads = query.unflatten(-1, (model.heads, -1)) if query.ndim == 3 else query
        heads = heads.transpose(1, 2) if sites[number].query_layout == "BTHd" else heads
        length = lengths[branch] if sites[number].kind == "double" else sum(lengths.values())
        assert heads.shape == (1, model.heads, length, model.width // model.heads)
        assert merge_heads(attend(heads, key, value)).shape == (1, length, model.width)
    gives_away = model.family == "sd3"
    assert len(shapes) == 2 * model.double - gives_away + model.single
