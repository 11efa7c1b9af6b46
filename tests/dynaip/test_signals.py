"""Asked to stop, or left alone by its parent: a process ends as the rule says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from dynaip.errors import Interrupted
from dynaip.signals import PARENT, end_with_parent, ended_by, interruptible, noting

ROOT = Path(__file__).parents[2]


def test_sigterm_passes_whatever_swallows_errors() -> None:
    """Loading plugins and analyses catches every exception of theirs; being asked to stop is none."""
    with pytest.raises(Interrupted, match="stopped here") as caught, interruptible("stopped here"):  # noqa: PT012
        try:
            signal.raise_signal(signal.SIGTERM)
            time.sleep(5)
        except Exception:
            pytest.fail("swallowed")
    assert caught.value.exit_code == 75
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_asked_twice_the_clean_up_goes_on() -> None:
    done: list[str] = []
    with pytest.raises(Interrupted), interruptible():  # noqa: PT012
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)
            done.append("clean")
    assert done == ["clean"]


def test_work_with_a_step_to_finish_is_only_told() -> None:
    with interruptible(), noting() as asked:
        assert not asked()
        signal.raise_signal(signal.SIGTERM)
        assert asked()


def test_other_threads_change_nothing() -> None:
    seen: list[object] = []

    def work() -> None:
        with interruptible(), noting():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.SIG_DFL]


def test_a_forked_child_ends_as_if_nobody_listened() -> None:
    ready, begin = os.pipe()
    with noting() as asked:
        child = os.fork()
        if child == 0:
            os.write(begin, b"x")  # what comes during the fork itself is Python's to lose
            time.sleep(30)
            os._exit(0)
        os.read(ready, 1)
        os.kill(child, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
        assert not asked()


@pytest.mark.parametrize(("code", "name"), [(-9, "SIGKILL"), (137, "SIGKILL"), (-15, "SIGTERM"), (1, None), (0, None)])
def test_signals_are_named(code: int, name: str | None) -> None:
    assert ended_by(code) == name


def test_a_parent_that_is_gone_before_the_child_looks() -> None:
    """The child starts while its parent dies: it must not take whoever adopts it for its parent."""
    code = f"""
import os, sys, time
sys.path.insert(0, {str(ROOT)!r})
if os.fork():
    os._exit(0)
time.sleep(0.3)
from dynaip.signals import end_with_parent
end_with_parent()
time.sleep(20)
print("orphan", flush=True)
"""
    environment = os.environ | {PARENT: "0"}
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], env=environment, capture_output=True, text=True, timeout=30
    )
    assert done.stdout == ""
    assert time.monotonic() - started < 15


def test_the_parent_is_not_told_to_grandchildren(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PARENT, str(os.getppid()))
    end_with_parent()
    assert PARENT not in os.environ
