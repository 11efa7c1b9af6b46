"""In which type level features are kept: as they are, or in half or a quarter of the bytes."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Kept = Literal["fp32", "bf16", "int8"]
_SCALE = 4
"""Bytes of a token's scale, behind its values."""


def packed(values: Tensor, kept: Kept) -> Tensor:
    """Level features (… x C, float) as they are kept: ``int8`` has one scale a token, in four further places."""
    if kept == "fp32":
        return values
    if kept == "bf16":
        return values.to(torch.bfloat16)
    values = values.float()
    # A token that is not finite stays so: its scale is.
    scale = values.abs().amax(-1, keepdim=True) / 127
    whole = (values / scale.clamp_min(1e-30)).nan_to_num(0).round().clamp(-127, 127).to(torch.int8)
    return torch.cat([whole, scale.contiguous().view(torch.int8)], -1)


def unpacked(values: Tensor) -> Tensor:
    """Level features (… x C, float32) from what ``packed`` gave, on the device that it lies on."""
    if values.dtype != torch.int8:
        return values.float()
    scale = values[..., -_SCALE:].contiguous().view(torch.float32)
    return values[..., :-_SCALE] * scale
