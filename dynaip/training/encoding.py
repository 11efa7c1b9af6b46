"""The frozen side of training: models that do not learn, and what they make of pairs, once."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from dynaip.adapter.model import DynaIP
from dynaip.contracts import Backbone, Pair
from dynaip.training.levels import Kept, packed
from dynaip.training.loader import Encoded
from dynaip.training.references import picture, regions_of, seen

PIXELS = 2**20
"""Pixels of the targets that are encoded at once: sixteen of 256 x 256, or one of a megapixel."""


Parts = Collection[Literal["latents", "levels", "text"]]
PARTS: Parts = ("latents", "levels", "text")


def freeze(pipe: Any) -> None:
    """Freeze every model of a pipeline and put it into evaluation mode."""
    for module in pipe.components.values():
        if isinstance(module, nn.Module):
            module.requires_grad_(False).eval()


@torch.no_grad()
def encode(
    pairs: Sequence[Pair], pipe: Any, backbone: Backbone, dyna: DynaIP, *, levels: Kept = "fp32", parts: Parts = PARTS
) -> list[Encoded]:
    """Encode pairs: latents of the targets, level features of the references, prompts. All of it on the CPU.

    Of ``parts`` that are not asked for, the encodings are empty; ``levels`` is the type that level features are kept in.
    """
    wanted = "latents" in parts
    latents = _latents([pair.target for pair in pairs], pipe, backbone) if wanted else [torch.empty(0)] * len(pairs)
    references = [seen(pair, dyna.specs.adapter.max_references) for pair in pairs]
    names = [f"the reference of {pair.id}" for pair, given in zip(pairs, references, strict=True) for _ in given]
    pictures = [picture(each) for given in references for each in given] if "levels" in parts else []
    found = _on_cpu(dyna.features(pictures, names)) if pictures else {}
    features = {level: packed(values, levels) for level, values in found.items()}
    text = encode_text([pair.prompt for pair in pairs], pipe, backbone) if "text" in parts else {}
    made, start = list[Encoded](), 0
    for row, (pair, given) in enumerate(zip(pairs, references, strict=True)):
        own = {level: values[start : start + len(given)].clone() for level, values in features.items()}
        size = (pair.target.height, pair.target.width)
        regions = regions_of(given, len(latents[row]), size) if wanted else None
        made.append(Encoded(pair.id, latents[row], own, _row(text, row), size, regions))
        start += len(given)
    return made


def _latents(targets: Sequence[Image.Image], pipe: Any, backbone: Backbone) -> list[Tensor]:
    """Latents of pictures (each T x C), those of one size together; ``PIXELS`` at once."""
    rows: dict[tuple[int, int], list[int]] = {}
    for row, target in enumerate(targets):
        rows.setdefault(target.size, []).append(row)
    made: dict[int, Tensor] = {}
    for (width, height), places in rows.items():
        at_once = max(1, PIXELS // (width * height))
        for start in range(0, len(places), at_once):
            part = places[start : start + at_once]
            encoded = backbone.encode_images(pipe, signed_pixels([targets[row] for row in part])).float().cpu()
            made |= {row: values.clone() for row, values in zip(part, encoded, strict=True)}
    return [made[row] for row in range(len(targets))]


def encode_text(prompts: Sequence[str], pipe: Any, backbone: Backbone) -> dict[str, Tensor]:
    """Encode prompts, on the CPU."""
    return _on_cpu(backbone.encode_prompts(pipe, prompts))


def _on_cpu(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: values.detach().cpu() for name, values in tensors.items()}


def _row(tensors: dict[str, Tensor], row: int) -> dict[str, Tensor]:
    """One sample's part; a copy, since a view would keep its whole batch in memory."""
    return {name: values[row].clone() for name, values in tensors.items()}


def base_type(precision: str, device: torch.device) -> torch.dtype:
    """Type of the frozen base.

    On a CPU it stays in float32 and autocast lowers the products, which keeps the norms exact.
    """
    if device.type == "cpu" or precision == "fp32":
        return torch.float32
    return torch.bfloat16 if precision == "bf16" else torch.float16


def signed_pixels(images: Sequence[Image.Image]) -> Tensor:
    """RGB images of one size to pixels in [-1, 1], B x 3 x height x width."""
    arrays = np.stack([np.asarray(image.convert("RGB"), dtype=np.float32) for image in images])
    return torch.from_numpy(arrays / 127.5 - 1).permute(0, 3, 1, 2).contiguous()
