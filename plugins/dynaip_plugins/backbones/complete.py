"""Whether a pipeline's files held all of its weights: what they lack is refused or told, never made up in silence."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import Any

from torch import nn

from dynaip.errors import InputError
from dynaip.notes import tell

LISTED = 3
"""Names of weights that a message holds."""
_MISSING = re.compile(r"^(\S+)\s*\|\s*MISSING", re.MULTILINE)
"""A line of transformers' report of what it loaded."""


def check_complete(pipe: Any, warned: Sequence[str], model: str) -> None:
    """Refuse a pipeline of which diffusers left weights empty, and tell of those that transformers drew by chance.

    ``warned`` is what the libraries warned of while they loaded. A text encoder of a full model may lack a part that is not
    used here, so that is told and not refused.
    """
    for part, module in getattr(pipe, "components", {}).items():
        if isinstance(module, nn.Module):
            empty = [name for name, value in module.named_parameters() if value.is_meta]
            if empty and not hasattr(module, "_hf_hook"):  # offloaded weights are somewhere else
                raise InputError(f"backbone.model: the files of {model} lack weights of its {part}: {_listed(empty)}")
    lacking = [name for line in warned for name in _MISSING.findall(line)]
    if lacking:
        tell(f"the files of {model} lack weights of a text encoder, which begin by chance: {_listed(lacking)}")
    for line in warned:
        if not _MISSING.search(line):  # whoever listens to the libraries hears the rest as ever
            logging.getLogger("diffusers").warning(line)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")
