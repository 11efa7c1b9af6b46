"""InstantX's FLUX.1-dev adapter: every block of both kinds, 128 tokens from SigLIP's embedding.

Its term is added to the attention before the output projection; in single-stream blocks every token looks at the reference.
Keys pass an RMS norm without weights (eps 1e-5): ours has weights, and they begin at one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from dynaip.config import ComponentConfig
from dynaip.contracts import AdapterFormat, ForeignAdapter
from dynaip.errors import InputError

from ..names import FLUX_DEV, blocks_of, ours, projected_tokens, renamed, table

WHAT = "InstantX IP-Adapter"
EPS = 1e-5


class InstantXFormat(AdapterFormat):
    """``ip_adapter.{i}.to_{k,v}_ip.weight`` (double-stream blocks first) and ``image_proj.{proj.0,proj.2,norm}``."""

    backbone, base, transformer = "flux", "black-forest-labs/FLUX.1-dev", FLUX_DEV

    def __init__(self, config: ComponentConfig) -> None:
        self.config = config

    def read(self, tensors: Mapping[str, Tensor]) -> ForeignAdapter:
        """Rename the tensors; the weights of our norms stay at one."""
        blocks = blocks_of(tensors, "ip_adapter.{}.to_k_ip.weight", WHAT)
        weights = renamed(tensors, names(blocks), WHAT)
        width, token_width = weights[ours("image", 0, "to_k.weight")].shape
        hidden = len(weights["fusion.proj.0.weight"])
        tokens = projected_tokens(len(weights["fusion.proj.2.weight"]), token_width, WHAT)
        return ForeignAdapter(
            encoder={"use": "siglip_embedding"},
            fusion={"use": "projection", "tokens": tokens, "hidden": hidden},
            decoupling={"use": "image_only"},
            adapter={
                "site": "projection",
                "single_stream": "all_tokens",
                "token_width": token_width,
                "key_norm": True,
                "key_norm_eps": EPS,
            },
            weights=weights,
            shape={"width": width, "blocks": blocks},
            untouched=("norm_k.weight",),
        )

    def write(self, adapter: Any, transformer: Mapping[str, Any]) -> dict[str, Tensor]:
        """This format is read only."""
        raise InputError("adapters cannot be exported to instantx: it is a format to import; export to diffusers")


def names(blocks: int) -> dict[str, str]:
    """Our name -> InstantX's."""
    pairs = {"to_k": "ip_adapter.{}.to_k_ip", "to_v": "ip_adapter.{}.to_v_ip"}
    return table(blocks, pairs, "image_proj", layers=("proj.0", "proj.2", "norm"), pieces=("weight",))
