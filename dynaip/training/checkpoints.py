"""Checkpoints that are complete or absent: a SHA-256 manifest written last, then one rename."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer

from dynaip.atomic import check_folder, replacing_folder
from dynaip.errors import DynaIPError

ADAPTER, OPTIMIZER, STATE, MANIFEST = "adapter.safetensors", "optimizer.safetensors", "state.json", "manifest.json"
FILES = (ADAPTER, OPTIMIZER, STATE)
AVERAGE = "average.safetensors"
"""There if an average of the adapter is kept."""
_NAME = re.compile(r"step-(\d+)")
_FULL = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint in memory."""

    step: int
    adapter: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    state: dict[str, Any]
    average: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    """Averages of what is trained of the adapter; empty if none are kept."""


def save(root: Path, checkpoint: Checkpoint, *, keep: int) -> Path:
    """Commit a checkpoint under ``root``, then prune older ones down to ``keep``.

    Raises ``DynaIPError`` with the size that was needed if the disk is full; the checkpoints there are stay intact.
    """
    final = root / f"step-{checkpoint.step:06d}"
    try:
        with replacing_folder(final) as part:
            _write(part, checkpoint)
    except (OSError, SafetensorError) as error:
        if not _disk_is_full(error):
            raise
        tensors = (*checkpoint.adapter.values(), *checkpoint.optimizer.values(), *checkpoint.average.values())
        needed = f"{sum(tensor.nbytes for tensor in tensors) / 1e6:.1f} MB"
        raise DynaIPError(f"{root}: the disk is full; a checkpoint needs {needed}: make room and --resume") from error
    prune(root, keep)
    return final


def _disk_is_full(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in _FULL
    # safetensors writes in Rust and gives the system's error as text only.
    return any(f"os error {number})" in str(error) for number in _FULL)


def _files(*, averaged: bool) -> tuple[str, ...]:
    return (*FILES, AVERAGE) if averaged else FILES


def _write(folder: Path, checkpoint: Checkpoint) -> None:
    save_file(checkpoint.adapter, folder / ADAPTER)
    save_file(checkpoint.optimizer, folder / OPTIMIZER)
    (folder / STATE).write_text(json.dumps(checkpoint.state | {"step": checkpoint.step}), encoding="utf-8")
    if checkpoint.average:
        save_file(checkpoint.average, folder / AVERAGE)
    sums = {name: digest(folder / name) for name in _files(averaged=bool(checkpoint.average))}
    (folder / MANIFEST).write_text(json.dumps(sums, indent=1), encoding="utf-8")


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def prune(root: Path, keep: int) -> None:
    """Remove the oldest checkpoints beyond ``keep`` (two at least), and what broken-off writes left."""
    for folder in found(root)[: -max(keep, 2)]:
        shutil.rmtree(folder, ignore_errors=True)
    for folder in root.glob(".step-*.part"):
        shutil.rmtree(folder, ignore_errors=True)


def found(root: Path) -> list[Path]:
    """Checkpoint folders, oldest first; ``InputError`` if a file lies where one should be."""
    check_folder(root)
    folders = [folder for folder in root.glob("step-*") if _NAME.fullmatch(folder.name)] if root.is_dir() else []
    for folder in folders:
        check_folder(folder)
    return sorted(folders, key=step_of)


def step_of(folder: Path) -> int:
    """The step that a checkpoint folder's name says."""
    return int(folder.name.removeprefix("step-"))


def latest(root: Path, *, warn: Callable[[str], None]) -> Checkpoint | None:
    """Load the newest checkpoint whose manifest holds; each one that is refused is said through ``warn``.

    Nothing is changed on disk: ``set_aside`` puts the refused ones out of the way.
    """
    folders = found(root)
    for folder in reversed(folders):
        try:
            return load(folder)
        except DynaIPError as error:
            left = "the one before is used" if folder != folders[0] else "none is left, so training begins at step 0"
            warn(f"{error}; {left}")
    return None


def set_aside(root: Path, step: int) -> None:
    """Put checkpoints after ``step`` (refused ones) out of the way, so that pruning never counts them as good ones.

    They are removed once the next checkpoint is committed.
    """
    for folder in found(root):
        if step_of(folder) > step:
            part = root / f".{folder.name}.part"
            shutil.rmtree(part, ignore_errors=True)
            os.replace(folder, part)


def load(folder: Path) -> Checkpoint:
    """Load a checkpoint; ``DynaIPError`` says which file is missing or does not match its manifest."""
    try:
        sums: Any = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        averaged = AVERAGE in sums
        for name in _files(averaged=averaged):
            if digest(folder / name) != sums[name]:
                raise DynaIPError(f"checkpoint {folder}: {name} is damaged")
        state = cast(dict[str, Any], json.loads((folder / STATE).read_text(encoding="utf-8")))
        average = load_file(folder / AVERAGE) if averaged else {}
        return Checkpoint(
            int(state["step"]), load_file(folder / ADAPTER), load_file(folder / OPTIMIZER), state, average
        )
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise DynaIPError(f"checkpoint {folder} cannot be read ({error})") from error


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """Flatten an optimizer's state into named tensors: ``{parameter}.{entry}``; whole numbers become int64 scalars."""
    state = cast(Mapping[int, Mapping[str, Any]], optimizer.state_dict()["state"])
    found: dict[str, Tensor] = {}
    for number, entries in state.items():
        # bitsandbytes lays what is quantised into a mapping of its own.
        inner = [each for each in entries.values() if isinstance(each, Mapping)]
        flat = {
            name: each for part in (entries, *inner) for name, each in part.items() if not isinstance(each, Mapping)
        }
        for name, value in flat.items():
            tensor = value if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.int64)
            tensor = tensor.clone() if name.startswith("qmap") else tensor  # bitsandbytes has one for all parameters
            found[f"{number}.{name}"] = tensor.detach().cpu().contiguous()
    return found


def restore_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what ``optimizer_tensors`` gave; the groups' settings stay the optimizer's own."""
    state: dict[int, dict[str, Any]] = {}
    for name, value in tensors.items():
        number, _, entry = name.partition(".")
        plain = value.ndim == 0 and value.dtype == torch.int64
        state.setdefault(int(number), {})[entry] = int(value) if plain else value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
