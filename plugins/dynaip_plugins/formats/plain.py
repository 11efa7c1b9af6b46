"""XLabs's adapter in any layout of names: image branch of the double-stream blocks, a few tokens from CLIP's embedding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from dynaip.config import ComponentConfig
from dynaip.contracts import AdapterFormat, ForeignAdapter

from .exact import plain_tensors
from .names import FLUX_DEV, blocks_of, ours, projected_tokens, renamed, table


class PlainFormat(AdapterFormat):
    """Added to the stream, biased K and V, one linear projection; 4 tokens (v1) and 16 (v2) are told apart by its rows."""

    backbone, base, transformer = "flux", "black-forest-labs/FLUX.1-dev", FLUX_DEV
    name: ClassVar[str]
    """What messages call it."""
    what: ClassVar[str]
    """What messages call its files."""
    pairs: ClassVar[Mapping[str, str]]
    """``to_k`` and ``to_v`` -> the layer's name in block {}."""
    projection: ClassVar[str]
    """How the projection's names begin."""

    def __init__(self, config: ComponentConfig) -> None:
        self.config = config

    def read(self, tensors: Mapping[str, Tensor]) -> ForeignAdapter:
        """Rename the tensors; shapes tell widths and tokens."""
        blocks = blocks_of(tensors, f"{self.pairs['to_k']}.weight", self.what)
        weights = renamed(tensors, self.names(blocks), self.what)
        width, token_width = weights[ours("image", 0, "to_k.weight")].shape
        tokens = projected_tokens(len(weights["fusion.proj.weight"]), token_width, self.what)
        return ForeignAdapter(
            encoder={"use": "clip_embedding"},
            fusion={"use": "projection", "tokens": tokens},
            decoupling={"use": "image_only"},
            adapter={"site": "residual", "token_width": token_width, "bias": True},
            weights=weights,
            shape={"width": width, "double_blocks": blocks},
        )

    def write(self, adapter: Any, transformer: Mapping[str, Any]) -> dict[str, Tensor]:
        """Give the tensors of an adapter that this format can hold exactly; ``InputError`` names what prevents it."""
        tensors = plain_tensors(adapter, transformer, self.name)
        return {theirs: tensors[mine] for mine, theirs in self.names(transformer["num_layers"]).items()}

    def names(self, blocks: int) -> dict[str, str]:
        """Our name -> theirs."""
        return table(blocks, self.pairs, self.projection, layers=("proj", "norm"))
