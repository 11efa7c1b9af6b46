"""Run folders: held by one process, found by name."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from dynaip import runs
from dynaip.atomic import write_text
from dynaip.errors import InputError
from dynaip.runs import LOCK, Run, environment

HOLD = """
    import sys, time
    sys.path[:0] = {roots!r}
    from pathlib import Path
    from dynaip import runs
    from dynaip.runs import Run
    runs.BEAT = {beat}
    with Run(Path({folder!r})).locked():
        print("held", flush=True)
        time.sleep(60)
"""
ROOT = Path(__file__).parents[2]


def holder(folder: Path, beat: float = 15) -> subprocess.Popen[str]:
    """Hold a folder in a process of its own."""
    code = textwrap.dedent(HOLD).format(roots=[str(ROOT)], folder=str(folder), beat=beat)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_refused_until_the_first_is_dead(tmp_path: Path) -> None:
    process = holder(tmp_path)
    try:
        with pytest.raises(InputError, match=f"in use by process {process.pid} on {socket.gethostname()}"):
            Run(tmp_path).locked().__enter__()
        assert process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert (tmp_path / LOCK).exists(), "killed without a chance to clean up"
        with Run(tmp_path).locked():
            assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
    finally:
        process.kill()
    assert not (tmp_path / LOCK).exists()


def test_a_thread_of_the_same_process_is_refused_too(tmp_path: Path) -> None:
    run = Run(tmp_path)
    with run.locked(), pytest.raises(InputError, match=f"in use by process {os.getpid()}"):
        run.locked().__enter__()


def test_a_lock_of_another_host_is_respected(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text(json.dumps({"pid": 1, "host": "elsewhere"}))
    with pytest.raises(InputError, match=r"process 1 on elsewhere.*or delete .*\.lock"):
        Run(tmp_path).locked().__enter__()


def test_a_machine_that_is_gone_is_taken_over_and_one_that_lives_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What tells them apart is whether the note is renewed: file systems may keep no locks between machines."""
    monkeypatch.setattr(runs, "BEAT", 0.02)
    monkeypatch.setattr(runs, "SILENT", 0.4)
    note, elsewhere = tmp_path / LOCK, json.dumps({"pid": 7, "host": "elsewhere", "token": "t"})
    note.write_text(elsewhere)
    with Run(tmp_path).locked():
        assert json.loads(note.read_text())["host"] == socket.gethostname()
        renewed = note.stat().st_mtime_ns
        time.sleep(0.2)
        assert note.stat().st_mtime_ns > renewed
    assert "waiting to see whether process 7 on elsewhere goes on" in capsys.readouterr().err
    note.write_text(elsewhere)
    with runs._renewed(note), pytest.raises(InputError, match="in use by process 7 on elsewhere"):
        Run(tmp_path).locked().__enter__()
    assert note.read_text() == elsewhere


def test_who_stood_still_until_another_machine_took_over_ends(tmp_path: Path) -> None:
    process = holder(tmp_path, beat=0.02)
    write_text(tmp_path / LOCK, json.dumps({"pid": 7, "host": "elsewhere", "token": "t"}))
    assert process.wait(30) == 1
    assert "was taken over by process 7 on elsewhere" in process.communicate()[1]


@pytest.mark.parametrize("text", ["", "garbage", json.dumps({"pid": 2**22 + 1, "host": socket.gethostname()})])
def test_a_stale_lock_is_taken_over(tmp_path: Path, text: str) -> None:
    (tmp_path / LOCK).write_text(text)
    with Run(tmp_path).locked():
        pass
    with Run(tmp_path).locked():
        pass


def test_only_one_of_many_gets_the_folder(tmp_path: Path) -> None:
    """Processes that come at once: exactly one holds it, whatever lies there from a dead one."""
    (tmp_path / LOCK).write_text("stale")
    start = time.time() + 0.5
    children: list[int] = []
    for _ in range(8):
        child = os.fork()
        if child == 0:
            code = 0
            try:
                time.sleep(max(0.0, start - time.time()))
                with Run(tmp_path).locked():
                    time.sleep(1.5)
            except InputError:
                code = 2
            os._exit(code)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert sorted(codes) == [0] + [2] * 7


def test_the_lock_goes_with_an_exception(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), Run(tmp_path / "run").locked():
        _ = 1 / 0
    assert not (tmp_path / "run" / LOCK).exists()


def test_a_text_file_is_complete_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "config.yaml"
    write_text(file, "first")

    def broken(*args: object) -> None:
        raise OSError("pulled plug")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OSError, match="pulled plug"):
        write_text(file, "second, longer")
    assert file.read_text() == "first"


def test_environment_names_versions_and_commit() -> None:
    found = environment()
    assert found["versions"]["torch"]
    assert found["git"] is None or len(found["git"]) == 40
    assert found["command"] == sys.argv


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "run", Path("/proc/none")):
        with pytest.raises(InputError, match="cannot be a run's folder"), Run(path).locked():
            pass
