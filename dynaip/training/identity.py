"""What a checkpoint belongs to: the models that it was trained on and the parts that it is made of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from dynaip.adapter.model import DynaIP
from dynaip.config import ExperimentConfig
from dynaip.errors import MismatchError

Identity = dict[str, dict[str, Any]]
"""Section -> field -> value, as JSON has it."""

_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": None}


def identity(config: ExperimentConfig, pipe: Any, dyna: DynaIP) -> Identity:
    """Describe base, encoder, fusion, policy and adapter, the frozen weights among them by a digest of their values."""
    parts = config.training_part()
    modules = {name: part for name, part in sorted(pipe.components.items()) if isinstance(part, nn.Module)}
    # The base lies in memory in another type on a CPU: its digest is of the type that the config names.
    stored = _DTYPES[config.training.precision]
    base = {f"weights of {name}": digest(module, stored) for name, module in modules.items()}
    levels = {"levels": dict(dyna.encoder.levels), "widths": dict(dyna.encoder.widths)}
    made: Identity = {
        "backbone": {"use": config.backbone.use, **dyna.model_signature, **base},
        "encoder": {"use": config.encoder.use, **levels, **dyna.encoder.signature(), "weights": digest(dyna.encoder)},
        **{name: dict(parts[name]) for name in ("fusion", "decoupling", "adapter")},
    }
    return cast(Identity, json.loads(json.dumps(made)))


def check(before: Mapping[str, Mapping[str, Any]], now: Identity, place: str) -> None:
    """Compare field by field what both know; ``MismatchError`` names the first field that differs, and both values."""
    for section, fields in before.items():
        for name, value in fields.items():
            given = now.get(section, {}).get(name, value)
            if given != value:
                raise MismatchError(
                    f"{place}: {section}.{name} was {value} and is now {given}; a resumed run keeps it: put it back, or "
                    "train into another folder"
                )


@torch.no_grad()
def digest(module: nn.Module, dtype: torch.dtype | None = None) -> str:
    """16 hex digits that depend on every weight of a module (brought to ``dtype``), wherever it lies.

    Rows are summed as integers where they lie, exactly, and only their sums are hashed: twelve billion weights on an
    accelerator take a second.
    """
    made = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        if isinstance(value, Tensor):
            made.update(f"{name} {tuple(value.shape)} ".encode())
            made.update(_sums(value.to(dtype) if dtype and value.is_floating_point() else value))
    return made.hexdigest()[:16]


def _sums(value: Tensor) -> bytes:
    if value.is_meta:  # offloaded: nothing to be read
        return b""
    try:
        bits = value.contiguous().view(_BITS[value.element_size()])
        sums = bits.sum(-1, dtype=torch.int64) if bits.ndim > 1 else bits
        return sums.cpu().numpy().tobytes()
    except (RuntimeError, NotImplementedError, TypeError, KeyError):
        return str(value.dtype).encode()  # quantised weights that do not show their bits: name and shape have to do
