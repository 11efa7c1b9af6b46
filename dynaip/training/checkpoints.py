"""Checkpoints that are complete or absent: a SHA-256 manifest written last, then one rename."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer

from dynaip.errors import DynaIPError

ADAPTER, OPTIMIZER, STATE, MANIFEST = "adapter.safetensors", "optimizer.safetensors", "state.json", "manifest.json"


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint in memory."""

    step: int
    adapter: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    state: dict[str, Any]


def save(root: Path, checkpoint: Checkpoint, *, keep: int) -> Path:
    """Commit a checkpoint under ``root``, then prune older ones down to ``keep``.

    Raises ``DynaIPError`` with the size that was needed if the disk is full; the checkpoints there are stay as they are.
    """
    root.mkdir(parents=True, exist_ok=True)
    final = root / f"step-{checkpoint.step:06d}"
    part = root / f".step-{checkpoint.step:06d}.part"
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir()
        _write(part, checkpoint)
        shutil.rmtree(final, ignore_errors=True)
        os.replace(part, final)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        if error.errno == errno.ENOSPC:
            raise DynaIPError(f"{root}: the disk is full; a checkpoint needs {_size(checkpoint) / 1e6:.1f} MB") from error
        raise
    _sync(root)
    prune(root, keep)
    return final


def _write(folder: Path, checkpoint: Checkpoint) -> None:
    save_file(checkpoint.adapter, folder / ADAPTER)
    save_file(checkpoint.optimizer, folder / OPTIMIZER)
    (folder / STATE).write_text(json.dumps(checkpoint.state | {"step": checkpoint.step}), encoding="utf-8")
    sums = {name: digest(folder / name) for name in (ADAPTER, OPTIMIZER, STATE)}
    for name in sums:
        _sync(folder / name)
    (folder / MANIFEST).write_text(json.dumps(sums, indent=1), encoding="utf-8")
    _sync(folder / MANIFEST)
    _sync(folder)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _size(checkpoint: Checkpoint) -> int:
    tensors = [*checkpoint.adapter.values(), *checkpoint.optimizer.values()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


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
    """Checkpoint folders, oldest first."""
    return sorted(root.glob("step-*")) if root.is_dir() else []


def latest(root: Path, *, warn: Callable[[str], None]) -> Checkpoint | None:
    """Load the newest checkpoint whose manifest holds; each one that is refused is said through ``warn``."""
    for folder in reversed(found(root)):
        try:
            return load(folder)
        except DynaIPError as error:
            warn(f"{error}; the one before is used")
    return None


def load(folder: Path) -> Checkpoint:
    """Load a checkpoint; ``DynaIPError`` says which file is missing or does not match its manifest."""
    try:
        sums = cast(dict[str, str], json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
        for name, expected in sums.items():
            if digest(folder / name) != expected:
                raise DynaIPError(f"checkpoint {folder}: {name} is damaged")
        state = cast(dict[str, Any], json.loads((folder / STATE).read_text(encoding="utf-8")))
        return Checkpoint(int(state["step"]), load_file(folder / ADAPTER), load_file(folder / OPTIMIZER), state)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise DynaIPError(f"checkpoint {folder} cannot be read ({error})") from error


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """Flatten an optimizer's state into named tensors: ``{parameter}.{entry}``."""
    state = cast(Mapping[int, Mapping[str, Tensor]], optimizer.state_dict()["state"])
    return {
        f"{number}.{name}": value.detach().cpu().contiguous()
        for number, entries in state.items()
        for name, value in entries.items()
    }


def restore_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what ``optimizer_tensors`` gave; the groups' settings stay the optimizer's own."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        number, _, entry = name.partition(".")
        state.setdefault(int(number), {})[entry] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
