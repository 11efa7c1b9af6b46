"""CLIP's files: its vision tower, from any folder that holds one, and how its pixels are normalised."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import CLIPVisionModel

from dynaip.errors import InputError
from dynaip.models import resolve
from dynaip.suggest import one_line

from ..pretrained import DTYPES, preprocessor_config, quiet, refuse_missing
from .config import ClipConfig

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""CLIP's own normalisation, for models without a preprocessor config."""


def load(config: ClipConfig) -> tuple[Any, Sequence[float], Sequence[float]]:
    """Load the vision tower, and the mean and deviation of its pixels.

    Raises ``InputError`` in one line if there is no such model, if it is none of CLIP's, or if its files are damaged.
    """
    where = resolve(config.model, "vision")
    try:
        if isinstance(where, Path) and not (where / "config.json").is_file():
            raise FileNotFoundError("there is no config.json")
        with quiet(bars=not isinstance(where, Path)):
            model, report = CLIPVisionModel.from_pretrained(
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


def normalisation(where: Path | str, revision: str | None) -> tuple[Sequence[float], Sequence[float]]:
    """Read mean and deviation from the preprocessor config; CLIP's own where there is none."""
    file = preprocessor_config(where, revision)
    settings: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file else {}
    if not settings.get("do_normalize", True):
        return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    mean = tuple(map(float, settings.get("image_mean") or MEAN))
    std = tuple(map(float, settings.get("image_std") or STD))
    if len(mean) != 3 or len(std) != 3 or 0 in std:
        raise ValueError(f"{file}: image_mean and image_std must be three numbers each, the latter not 0")
    return mean, std
