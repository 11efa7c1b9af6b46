"""When an adapter is one that diffusers' FLUX IP-Adapter computes too, and its tensors if it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from dynaip.errors import InputError

from .names import ours

PROGRESS = [step / 20 for step in range(21)]
MANY = 65536
"""Rows of a projection that diffusers takes for 16 tokens; any other number is 4 tokens."""


def plain_tensors(adapter: Any, transformer: Mapping[str, Any], name: str) -> dict[str, Tensor]:
    """Tensors of every double-stream block under our names, fit for one linear projection and biased K, V.

    Blocks that take no part get zeros, whose term is exactly 0, and missing biases are zeros. Raises ``InputError`` naming
    every property that the format ``name`` cannot hold.
    """
    reasons = list(preventing(adapter, transformer))
    if reasons:
        raise InputError(f"this adapter cannot be exported to {name} exactly: {'; '.join(reasons)}")
    tensors = {f"fusion.{key}": value.detach().float() for key, value in adapter.fusion.state_dict().items()}
    places = {number: place for place, number in enumerate(adapter.block_numbers)}
    for number in range(transformer["num_layers"]):
        pair = adapter.attention.pair("image", places.get(number, 0))
        for part in ("to_k", "to_v"):
            layer = getattr(pair, part)
            weight, bias = layer.weight.detach().float(), layer.bias
            bias = torch.zeros(len(weight)) if bias is None else bias.detach().float()
            share = float(number in places)
            tensors[ours("image", number, f"{part}.weight")] = weight * share
            tensors[ours("image", number, f"{part}.bias")] = bias.to(weight.device) * share
    return {key: value.cpu().contiguous() for key, value in tensors.items()}


def preventing(adapter: Any, transformer: Mapping[str, Any]) -> Iterator[str]:
    """Every property of an adapter that diffusers' FLUX IP-Adapter does not have."""
    specs, settings = adapter.specs, adapter.specs.adapter
    family, wide = adapter.model_signature["family"], transformer["joint_attention_dim"]
    if family != "flux":
        yield f"backbone {family} (only FLUX has this format)"
    if settings.site != "residual":
        yield f"adapter.site {settings.site} (there the term is added to the stream: residual)"
    if settings.single_stream != "off":
        yield f"adapter.single_stream {settings.single_stream} (there single-stream blocks take no part: off)"
    if settings.key_norm:
        yield "adapter.key_norm (there keys have no norm)"
    if settings.token_width != wide:
        yield f"adapter.token_width {settings.token_width} (there it is the base's joint_attention_dim, {wide})"
    if specs.encoder.name != "clip_embedding":
        yield f"encoder {specs.encoder.name} (there it is CLIP's image embedding: clip_embedding)"
    yield from _fusion(specs.fusion, settings.token_width)
    if not adapter.attention.serves("image"):
        yield "the image branch was not trained (there it is the only one)"
    elif not _image_only(adapter):
        yield f"decoupling {specs.decoupling.name} (there the image branch alone is open, with weight 1 at every step)"


def _fusion(spec: Any, token_width: int) -> Iterator[str]:
    if spec.name != "projection":
        yield f"fusion {spec.name} (there tokens come from one embedding by one linear layer: projection)"
        return
    if spec.config.hidden is not None:
        yield f"fusion.hidden {spec.config.hidden} (there the projection is one linear layer)"
    read = 16 if spec.config.tokens * token_width == MANY else 4
    if spec.config.tokens != read:
        yield f"fusion.tokens {spec.config.tokens} (a projection of this size is read as {read} tokens there)"


def _image_only(adapter: Any) -> bool:
    blocks = int(adapter.model_signature["double_blocks"])
    given = (
        adapter.policy.weights("inference", block=number, blocks=blocks, progress=progress)
        for number in adapter.block_numbers
        for progress in PROGRESS
    )
    return all(weight.image == 1 and weight.text == 0 for weight in given)
