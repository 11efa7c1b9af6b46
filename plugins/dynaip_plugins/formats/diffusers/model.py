"""diffusers' own layout of the same adapter: ``image_proj.*`` and ``ip_adapter.{i}.to_{k,v}_ip``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from dynaip.contracts import AdapterFormat, ForeignAdapter

from ..exact import plain_tensors
from ..names import FLUX_DEV, PARTS, blocks_of, ours, renamed
from ..xlabs.model import plain
from .config import DiffusersConfig


class DiffusersFormat(AdapterFormat):
    """What ``FluxPipeline.load_ip_adapter(folder, weight_name=…)`` reads."""

    backbone, base, transformer = "flux", "black-forest-labs/FLUX.1-dev", FLUX_DEV

    def __init__(self, config: DiffusersConfig) -> None:
        self.config = config

    def read(self, tensors: Mapping[str, Tensor]) -> ForeignAdapter:
        """Rename the tensors."""
        blocks = blocks_of(tensors, "ip_adapter.{}.to_k_ip.weight", "diffusers IP-Adapter")
        return plain(renamed(tensors, names(blocks), "diffusers IP-Adapter"), blocks)

    def write(self, adapter: Any, transformer: Mapping[str, Any]) -> dict[str, Tensor]:
        """Give the tensors of an adapter that diffusers can run exactly; ``InputError`` names what prevents it."""
        tensors = plain_tensors(adapter, transformer, "diffusers")
        return {theirs: tensors[mine] for mine, theirs in names(transformer["num_layers"]).items()}


def names(blocks: int) -> dict[str, str]:
    """Our name -> diffusers'."""
    pairs = {
        ours("image", number, f"{part}.{piece}"): f"ip_adapter.{number}.{part}_ip.{piece}"
        for number in range(blocks)
        for part in ("to_k", "to_v")
        for piece in PARTS
    }
    return pairs | {
        f"fusion.{part}.{piece}": f"image_proj.{part}.{piece}" for part in ("proj", "norm") for piece in PARTS
    }
