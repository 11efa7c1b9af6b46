"""Optimizers of the adapter, by name."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from dynaip.config import TrainingConfig
from dynaip.errors import MissingDependency

STATE_BYTES = {"adamw": 8.0, "adamw8bit": 2.04}
"""Bytes that an optimizer keeps for each weight, with the scales of its blocks of 256."""


def check_optimizer(name: str) -> None:
    """``MissingDependency`` with the line that installs what an optimizer needs, if it is not there."""
    if name == "adamw8bit" and importlib.util.find_spec("bitsandbytes") is None:
        raise MissingDependency(
            "training.optimizer: adamw8bit needs bitsandbytes: pip install 'dynaip[quantized]', or use adamw"
        )


def optimizer_for(settings: TrainingConfig, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
    """AdamW with moments in fp32, or (bitsandbytes) in 8 bits but for tensors below 4096 values."""
    options: dict[str, Any] = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(parameters, fused=True, **options)
    check_optimizer(settings.optimizer)
    bitsandbytes: Any = importlib.import_module("bitsandbytes.optim")
    return bitsandbytes.AdamW8bit(parameters, **options)
