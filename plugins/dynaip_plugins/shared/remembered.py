"""What was found out about large data sets, kept beside the encodings: it is found out once, not in every process."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynaip.atomic import replacing
from dynaip.errors import InputError
from dynaip.paths import at_home

FOLDER = "DYNAIP_DATA"
"""Variable that names the folder."""


def folder() -> Path:
    """Where it is kept: what DYNAIP_DATA names, or else ~/.cache/dynaip/data."""
    return at_home(os.environ.get(FOLDER) or "~/.cache/dynaip/data")


def remembered(kind: str, key: Any, make: Callable[[], Mapping[str, NDArray[Any]]]) -> Mapping[str, NDArray[Any]]:
    """Give what was made for this ``key`` (plain data that names all it depends on), or make it and keep it.

    Where the folder cannot be written it is made anew each time.
    """
    digest = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()[:24]
    file = folder() / f"{kind}-{digest}.npz"
    try:
        with np.load(file, allow_pickle=False) as kept:
            return {name: kept[name] for name in kept.files}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, KeyError):
        pass
    made = make()
    with suppress(OSError, InputError), replacing(file) as part, part.open("wb") as opened:
        np.savez(opened, allow_pickle=False, **made)
    return made
