"""XLabs v1 and v2: image branch of the double-stream blocks, added to the stream; a few tokens from CLIP's embedding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from dynaip.contracts import AdapterFormat, ForeignAdapter

from ..exact import plain_tensors
from ..names import FLUX_DEV, PARTS, blocks_of, ours, renamed, tokens_of
from .config import XLabsConfig

PAIR = {"to_k": "ip_adapter_double_stream_k_proj", "to_v": "ip_adapter_double_stream_v_proj"}
BLOCK = "double_blocks.{}.processor."
PROJECTION = "ip_adapter_proj_model."


class XLabsFormat(AdapterFormat):
    """``double_blocks.{i}.processor.ip_adapter_double_stream_{k,v}_proj`` and ``ip_adapter_proj_model``."""

    backbone, base, transformer = "flux", "black-forest-labs/FLUX.1-dev", FLUX_DEV

    def __init__(self, config: XLabsConfig) -> None:
        self.config = config

    def read(self, tensors: Mapping[str, Tensor]) -> ForeignAdapter:
        """Rename the tensors; 4 tokens (v1) and 16 tokens (v2) are told apart by the projection's rows."""
        blocks = blocks_of(tensors, f"{BLOCK}{PAIR['to_k']}.weight", "XLabs IP-Adapter")
        return plain(renamed(tensors, names(blocks), "XLabs IP-Adapter"), blocks)

    def write(self, adapter: Any, transformer: Mapping[str, Any]) -> dict[str, Tensor]:
        """Give the tensors of an adapter that this format can hold exactly; ``InputError`` names what prevents it."""
        tensors = plain_tensors(adapter, transformer, "xlabs")
        return {theirs: tensors[mine] for mine, theirs in names(transformer["num_layers"]).items()}


def names(blocks: int) -> dict[str, str]:
    """Our name -> XLabs's."""
    pairs = {
        ours("image", number, f"{part}.{piece}"): f"{BLOCK.format(number)}{theirs}.{piece}"
        for number in range(blocks)
        for part, theirs in PAIR.items()
        for piece in PARTS
    }
    return pairs | {
        f"fusion.{part}.{piece}": f"{PROJECTION}{part}.{piece}" for part in ("proj", "norm") for piece in PARTS
    }


def plain(weights: Mapping[str, Tensor], blocks: int) -> ForeignAdapter:
    """The adapter that XLabs's and diffusers' files hold, in our terms."""
    width, token_width = weights[ours("image", 0, "to_k.weight")].shape
    tokens = tokens_of(len(weights["fusion.proj.weight"]), token_width, "XLabs IP-Adapter")
    return ForeignAdapter(
        encoder={"use": "clip_embedding"},
        fusion={"use": "projection", "tokens": tokens},
        decoupling={"use": "image_only"},
        adapter={"site": "residual", "token_width": token_width, "bias": True},
        weights=weights,
        shape={"width": width, "double_blocks": blocks},
    )
