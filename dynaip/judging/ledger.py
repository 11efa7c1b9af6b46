"""Answers on disk: one JSON a line, only ever added to, each on the disk before the next question is asked."""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from filelock import FileLock, Timeout

from dynaip.atomic import make_folder
from dynaip.errors import InputError
from dynaip.judging.answers import STATES, Answer
from dynaip.notes import tell


class Ledger:
    """The answers in one file; a line that a killed process left half is passed over, and never joined to the next one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()
        self._known: dict[str, Answer] = {}

    @contextmanager
    def open(self) -> Generator[Ledger]:
        """Read what is there and hold the file: another process that wants it waits, so that nothing is asked twice."""
        make_folder(self.path.parent)
        lock = FileLock(self.path.with_name(f".{self.path.name}.lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            tell(f"{self.path} is written by another process; waiting until it is done")
            lock.acquire()
        try:
            yield self.read()
        finally:
            lock.release()

    def read(self) -> Ledger:
        """Read the file again; damaged lines are told."""
        self._known, damaged = {}, 0
        try:
            lines = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            lines = []
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error.strerror}") from error
        for line in filter(None, lines):
            answer = _answer(line)
            damaged += answer is None
            if answer is not None:
                self._known[answer.key] = answer
        if damaged:
            tell(f"{self.path}: {damaged} damaged line{'s are' if damaged > 1 else ' is'} passed over, and asked again")
        return self

    def get(self, key: str) -> Answer | None:
        """What the judge answered; None if it was never asked, or if asking failed."""
        found = self._known.get(key)
        return found if found and found.state != "failed" else None

    def last(self, key: str) -> Answer | None:
        """What came of a question last, failures included."""
        return self._known.get(key)

    def answers(self) -> list[Answer]:
        """Everything that is known, the last of each question."""
        return list(self._known.values())

    def add(self, answer: Answer) -> None:
        """Keep an answer; it is on the disk when this returns."""
        line = json.dumps(answer.row(), ensure_ascii=True, sort_keys=True).encode()
        with self._lock:
            handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                size = os.fstat(handle).st_size
                torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
                os.write(handle, (b"\n" if torn else b"") + line + b"\n")
                os.fsync(handle)
            finally:
                os.close(handle)
            self._known[answer.key] = answer


def _answer(line: bytes) -> Answer | None:
    try:
        row: dict[str, Any] = json.loads(line)
        answer = Answer(**row)
        whole = answer.state in STATES and (answer.score is None) == (answer.state != "answered")
        return answer if whole else None
    except (ValueError, TypeError, RecursionError):
        return None
