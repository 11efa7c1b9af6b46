"""Run directories: what a run leaves, and who holds it."""

from __future__ import annotations

import json
import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from threading import Event, Thread
from typing import Any
from uuid import uuid4

from filelock import FileLock, Timeout

from dynaip.atomic import write_json, write_text
from dynaip.errors import InputError

LOCK = ".lock"
"""Note of the process that holds a folder."""
GUARD = ".guard"
"""What the system locks beside it (a locked file cannot be read everywhere)."""
BEAT, SILENT = 15.0, 90.0
"""Seconds after which a holder renews its note, and after which one that is not renewed counts as a dead machine's."""
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

        The lock of a process that died is taken over: at once on its own machine, elsewhere when its note was not renewed for
        ``SILENT`` seconds, whether or not the file system keeps locks between machines.
        """
        note, guard = self.path / LOCK, FileLock(self.path / GUARD, timeout=0)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            _take(guard, note)
        except OSError as error:
            raise InputError(f"{self.path} cannot be a run's folder ({error.strerror}): choose another one") from error
        try:
            with _renewed(note):
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
    elsewhere = holder.get("host", here) != here
    if free and elsewhere and holder.get("token"):
        print(f"dynaip: {note.parent}: waiting to see whether {_told(holder)} goes on", file=sys.stderr)
        elsewhere = not _silent(note)
    if not free or elsewhere:
        guard.release()
        raise InputError(
            f"{note.parent} is in use by {_told(holder)}: wait for it, choose another folder, or delete {note} if that "
            "process is gone"
        )
    token = uuid4().hex
    write_json(note, {"pid": os.getpid(), "host": here, "token": token}, indent=None)
    if holder.get("host", here) != here:
        time.sleep(BEAT / 10)  # another machine may have waited as long, and the later note stays
        if _holder(note).get("token") != token:
            guard.release()
            raise InputError(f"{note.parent} is in use by {_told(_holder(note))}: it was a moment quicker")


def _told(holder: dict[str, Any]) -> str:
    return f"process {holder.get('pid', '?')} on {holder.get('host', '?')}"


def _silent(note: Path) -> bool:
    """Whether nobody renews a note for as long as a living holder never waits."""
    before, end = _mark(note), time.monotonic() + SILENT
    while time.monotonic() < end:
        time.sleep(min(1.0, SILENT / 10))
        if _mark(note) != before:
            return False
    return True


def _mark(note: Path) -> tuple[int, bytes]:
    """When a note was renewed, and what it says; it is opened, since network file systems ask their server then."""
    try:
        with note.open("rb") as opened:
            return os.fstat(opened.fileno()).st_mtime_ns, opened.read()
    except OSError:
        return 0, b""


@contextmanager
def _renewed(note: Path) -> Generator[None]:
    """Renew a note while the context is open. A process that stood still until another machine took its folder ends at once."""
    own, over = _holder(note), Event()

    def renew() -> None:
        while not over.wait(BEAT):
            found = _holder(note)
            if found and found.get("token") != own.get("token") and not over.is_set():
                print(f"dynaip: {note.parent} was taken over by {_told(found)} meanwhile", file=sys.stderr, flush=True)
                os._exit(1)
            with suppress(OSError):  # a server that is away for a while is no reason to end
                os.utime(note) if found else write_json(note, own, indent=None)

    thread = Thread(target=renew, name="holds a run folder", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


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
