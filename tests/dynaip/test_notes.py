"""Notes reach people: as warnings in Python, as one line on stderr on the command line, once each."""

from __future__ import annotations

import subprocess
import sys
import warnings

import pytest

from dynaip.notes import gathered, tell


def test_gathered_notes_are_told_once_with_their_number() -> None:
    def run() -> None:
        with gathered():
            for number in range(3):
                tell(f"picture {number} is small", kind="small")
            tell("another one", kind="other")
            with gathered():
                tell("picture 3 is small", kind="small")
            assert not told

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        run()
    assert [str(one.message) for one in told] == ["picture 0 is small (3 more like this)", "another one"]


def test_notes_survive_an_error() -> None:
    def broken() -> None:
        with gathered():
            tell("picture 0 is small", kind="small")
            raise KeyError

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with pytest.raises(KeyError):
            broken()
    assert [str(one.message) for one in told] == ["picture 0 is small"]


def test_without_gathering_each_is_told_at_once() -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        tell("one", kind="a")
        tell("two", kind="a")
    assert [str(one.message) for one in told] == ["one", "two"]


def test_the_command_line_prints_each_once_and_other_warnings_never() -> None:
    code = (
        "import warnings; from dynaip.quiet import quiet_libraries; from dynaip.notes import tell; quiet_libraries()\n"
        "import logging; logging.getLogger('bitsandbytes.backends.cpu.ops').warning('nobody asked for it')\n"
        "for _ in range(2): tell('the prompt\\nis cut'); warnings.warn('chatter'); warnings.warn('old', FutureWarning)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "note: the prompt is cut\n"
