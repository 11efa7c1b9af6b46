"""CLIP's files: its vision tower, from any folder that holds one, and how its pixels are normalised."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import CLIPVisionModel

from dynaip.errors import InputError
from dynaip.models import resolve
from dynaip.suggest import one_line

from ...shared.pixels import normalisation
from ...shared.pretrained import DTYPES, quiet, refuse_missing
from .config import ClipConfig

LOADER: Any = CLIPVisionModel
"""Its types know neither a loading report nor a revision that is not given."""


def load(config: ClipConfig) -> tuple[Any, Sequence[float], Sequence[float]]:
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
