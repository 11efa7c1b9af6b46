"""Run directories: what a run leaves, and who holds it."""

from __future__ import annotations

import json
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from dynaip.atomic import write_json, write_text
from dynaip.errors import InputError

LOCK = ".lock"
"""Note of the process that holds a folder."""
GUARD = ".guard"
"""What the system locks beside it (a locked file cannot be read everywhere)."""
PACKAGES = ("dynaip", "torch", "diffusers", "transformers", "accelerate", "safetensors", "numpy")


@dataclass(frozen=True)
class Run:
    """One run's folder. Files are complete or absent."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved config."""
        return self.path / "config.yaml"

    @property
    def adapter(self) -> Path:
        """The trained adapter, there when training has finished."""
        return self.path / "adapter"

    @property
    def last(self) -> Run:
        """A run of its own with the last weights, where the adapter is an average."""
        return Run(self.path / "last")

    @property
    def checkpoints(self) -> Path:
        """Checkpoints by step."""
        return self.path / "checkpoints"

    @property
    def metrics(self) -> Path:
        """One JSON line for every logged step."""
        return self.path / "metrics.jsonl"

    @property
    def order(self) -> Path:
        """One JSON line a step with the ids of its samples."""
        return self.path / "samples.jsonl"

    @property
    def samples(self) -> Path:
        """Images."""
        return self.path / "samples"

    @property
    def trained(self) -> Path:
        """How many steps the adapter was trained for, and the digest of its weights."""
        return self.path / "trained.json"

    @property
    def pairs(self) -> Path:
        """Digests of the pairs that the run trains on."""
        return self.path / "pairs.json"

    @property
    def notes(self) -> Path:
        """One JSON line for everything that was told of the pairs."""
        return self.path / "notes.jsonl"

    @property
    def quarantine(self) -> Path:
        """One JSON line for every pair that cannot be used, with the reason."""
        return self.path / "quarantine.jsonl"

    def prepare(self, config: str, **details: Any) -> None:
        """Make the folder with ``config.yaml`` and ``environment.json``."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_text(self.config, config)
        write_json(self.path / "environment.json", environment() | details)

    @contextmanager
    def locked(self) -> Generator[None]:
        """Hold the folder alone; ``InputError`` names the process that holds it already, or why it cannot be written.

        The lock of a process that died is taken over.
        """
        note, guard = self.path / LOCK, FileLock(self.path / GUARD, timeout=0)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            _take(guard, note)
        except OSError as error:
            raise InputError(f"{self.path} cannot be a run's folder ({error.strerror}): choose another one") from error
        try:
            yield
        finally:
            note.unlink(missing_ok=True)
            with suppress(OSError):  # before it is let go, so that nobody else holds it; Windows keeps open files
                Path(guard.lock_file).unlink()
            guard.release()


def _take(guard: FileLock, note: Path) -> None:
    """Hold the guard, which the system lets go of however this process ends, and leave a note of who holds it."""
    try:
        guard.acquire()
        free = True
    except Timeout:
        free = False
    holder, here = _holder(note), socket.gethostname()
    if not free or holder.get("host", here) != here:
        guard.release()
        raise InputError(
            f"{note.parent} is in use by process {holder.get('pid', '?')} on {holder.get('host', '?')}: wait for it, "
            f"choose another folder, or delete {note} if that process is gone"
        )
    write_json(note, {"pid": os.getpid(), "host": here}, indent=None)


def _holder(note: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(note.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def environment() -> dict[str, Any]:
    """Versions, machine, command and git commit, for ``environment.json``."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "versions": versions(),
        "command": sys.argv,
        "git": _commit(),
    }


def versions() -> dict[str, str]:
    """Versions of the packages that results depend on."""
    found: dict[str, str] = {}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _commit() -> str | None:
    """The commit of DynaIP's own source, where it runs from a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None
