"""What happens when a process is asked to stop, or its parent is gone: one rule for training, ablation and their workers."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from threading import Thread, current_thread, main_thread
from typing import Any

from dynaip.errors import Interrupted

PARENT = "DYNAIP_PARENT"
"""Environment variable with the id of the process that a worker ends with."""
LOOK = 0.2
"""Seconds between two looks at whether the parent is still there."""


class _Asked(BaseException):
    """SIGTERM came. No ``except Exception`` on its way may swallow it."""


@contextmanager
def interruptible(message: str = "stopped; what is finished is kept: go on with --resume") -> Generator[None]:
    """SIGTERM ends what runs here, wherever it is (loading models, say), as ``Interrupted`` with a message.

    Work that has a step to finish first puts ``noting`` around it. Outside the main thread nothing is changed.
    """

    def ask(number: int, frame: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # asked twice, the first clean-up goes on
        raise _Asked

    try:
        with _handled(ask):
            yield
    except _Asked:
        raise Interrupted(message) from None


@contextmanager
def noting() -> Generator[Callable[[], bool]]:
    """Note SIGTERM instead of ending; what is given tells whether it came."""
    came: list[int] = []
    with _handled(lambda number, frame: came.append(number)):
        yield lambda: bool(came)


@contextmanager
def _handled(handler: Callable[[int, Any], None]) -> Generator[None]:
    if current_thread() is not main_thread():  # nobody can signal us there
        yield
        return
    owner = os.getpid()

    def hear(number: int, frame: Any) -> None:
        if os.getpid() == owner:
            handler(number, frame)
        else:  # a process that was forked from this one ends as if nobody listened
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    before = signal.signal(signal.SIGTERM, hear)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)  # None: not set from Python


def with_parent() -> dict[str, str]:
    """Environment variables for a child that calls ``end_with_parent``."""
    return {PARENT: str(os.getpid())}


def end_with_parent() -> None:
    """Ask this process to stop (as SIGTERM does) when the one that started it is gone, e.g. killed hard, even before now."""
    parent = int(os.environ.pop(PARENT, os.getppid()))

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK)
        os.kill(os.getpid(), signal.SIGTERM)

    Thread(target=watch, daemon=True).start()


def ended_by(code: int) -> str | None:
    """Name the signal that ended a process, from its exit code (``-9``, or ``137`` as shells and containers say it)."""
    number = -code if code < 0 else code - 128
    try:
        return signal.Signals(number).name
    except ValueError:
        return None
