"""Run directories: what a run leaves, who holds it, and how a run is found by name."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from dynaip.errors import InputError

LOCK = ".lock"
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
    def quarantine(self) -> Path:
        """One JSON line for every pair that cannot be used, with the reason."""
        return self.path / "quarantine.jsonl"

    def prepare(self, config: str, **details: Any) -> None:
        """Make the folder with ``config.yaml`` and ``environment.json``."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_text(self.config, config)
        write_text(self.path / "environment.json", json.dumps(environment() | details, indent=2) + "\n")

    @contextmanager
    def locked(self) -> Generator[None]:
        """Hold the folder alone; ``InputError`` names the process that holds it already, or why it cannot be written.

        The lock of a process that died is taken over.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = self.path / LOCK
            handle = _take(lock)
        except OSError as error:
            raise InputError(f"{self.path} cannot be a run's folder ({error.strerror}): choose another one") from error
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
            os.close(handle)


def _take(lock: Path) -> int:
    """Open and lock the file; the kernel lets go of it when this process ends, however it ends."""
    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _hold(handle, lock)
        except BaseException:
            os.close(handle)
            raise
        if _same_file(handle, lock):
            return handle
        os.close(handle)  # its holder removed it between our opening and our locking


def _hold(handle: int, lock: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        free = True
    except BlockingIOError:
        free = False
    holder = _holder(lock)
    if not free or holder.get("host", socket.gethostname()) != socket.gethostname():
        raise InputError(
            f"{lock.parent} is in use by process {holder.get('pid', '?')} on {holder.get('host', '?')}: wait for it, "
            f"choose another folder, or delete {lock} if that process is gone"
        )
    os.ftruncate(handle, 0)
    os.write(handle, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())


def _same_file(handle: int, lock: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), lock.stat())
    except FileNotFoundError:
        return False


def _holder(lock: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(lock.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def write_text(path: Path, text: str) -> None:
    """Write a text file that is complete or absent."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def environment() -> dict[str, Any]:
    """Versions, machine, command and git commit, for ``environment.json``."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
        "command": sys.argv,
        "git": _commit(),
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of DynaIP's own source, where it runs from a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None


def resolve_run(name: str | Path) -> Path:
    """Find a run's folder: a folder, a bundle such as ``microworld`` (its adapter), or a hub id that is fetched."""
    from dynaip.models import local_folder

    return local_folder(name, "adapter")
