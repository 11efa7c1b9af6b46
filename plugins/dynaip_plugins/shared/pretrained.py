"""Shared by encoders and metrics: types, a quiet load, and what tells two transformers models of one shape apart."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Generator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor
from transformers.utils import cached_file, logging

from dynaip.errors import InputError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def preprocessor_config(where: Path | str, revision: str | None) -> Path | None:
    """The config of a model's image processor; None if it brings none."""
    found = cached_file(
        str(where),
        "preprocessor_config.json",
        revision=revision,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return Path(found) if found else None


def refuse_missing(missing: Collection[str], model: str, what: str) -> None:
    """Raise ``InputError`` for weights that are not stored: transformers would fill in random ones."""
    if missing:
        raise InputError(f"{model} is no {what}: it has no weights {min(missing)}")


def fingerprint(part: Tensor) -> str:
    """12 hex digits that depend on a tensor's values; of a small part, so that no gigabytes are read."""
    return hashlib.sha256(part.detach().float().cpu().numpy().tobytes()).hexdigest()[:12]


@contextmanager
def quiet(*, bars: bool = False) -> Generator[None]:
    """Keep transformers from listing the parts of a model that are not read; ``bars`` leaves its progress bars."""
    level, shown = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    if not bars:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()
