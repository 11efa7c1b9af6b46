"""CLIP's files: its vision tower, from any folder that holds one, and how its pixels are normalised."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import CLIPVisionConfig, CLIPVisionModel

from dynaip.errors import InputError
from dynaip.models import resolve
from dynaip.suggest import one_line

from ...shared.pixels import normalisation
from ...shared.pretrained import DTYPES, quiet, refuse_missing
from .config import ClipConfig

LOADER: Any = CLIPVisionModel
"""Its types know neither a loading report nor a revision that is not given."""


Loaded = tuple[Any, Sequence[float], Sequence[float]]
_L14 = {
    "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16, "image_size": 224,
    "patch_size": 14, "projection_dim": 768,
}  # fmt: skip
_B32 = {
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12, "image_size": 224,
    "patch_size": 32, "projection_dim": 512,
}  # fmt: skip
SHAPES: dict[str, dict[str, Any]] = {
    "openai/clip-vit-large-patch14": _L14,
    "openai/clip-vit-large-patch14-336": {**_L14, "image_size": 336},
    "openai/clip-vit-base-patch32": _B32,
    "openai/clip-vit-base-patch16": {**_B32, "patch_size": 16},
}
"""Layouts of OpenAI's towers, as their config files give them."""


def outline(config: ClipConfig) -> Any:
    """The vision tower without weights (torch's ``meta`` device); None if its layout is not at hand."""
    where = resolve(config.model, "vision")
    if isinstance(where, Path):
        shape = CLIPVisionConfig.from_pretrained(where)
    elif config.model in SHAPES:
        shape = CLIPVisionConfig(**SHAPES[config.model])
    else:
        return None
    with torch.device("meta"):
        model: Any = CLIPVisionModel(shape)
        model.to(DTYPES[config.dtype])
    return getattr(model, "vision_model", model)


def load(config: ClipConfig) -> Loaded:
    """Load the vision tower, and the mean and deviation of its pixels.

    Raises ``InputError`` in one line if there is no such model, if it is none of CLIP's, or if its files are damaged.
    """
    where = resolve(config.model, "vision")
    try:
        if isinstance(where, Path) and not (where / "config.json").is_file():
            raise FileNotFoundError("there is no config.json")
        with quiet(bars=not isinstance(where, Path)):
            model, report = LOADER.from_pretrained(
                where,
                revision=config.revision,
                dtype=DTYPES[config.dtype],
                use_safetensors=True,
                output_loading_info=True,
            )
        mean, std = normalisation(where, config.revision)
    except (OSError, ValueError, RuntimeError, SafetensorError, TypeError) as error:
        raise InputError(
            f"encoder.model: {config.model} cannot be loaded as a CLIP vision model ({one_line(error)})"
        ) from error
    refuse_missing(report["missing_keys"], f"encoder.model: {config.model}", "CLIP vision model")
    return getattr(model, "vision_model", model), mean, std
