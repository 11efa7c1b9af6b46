"""Processes that have torch, diffusers and transformers from their start: forked from a server that has imported them once.

A worker of an ablation imports for seven seconds and works for one. Here it is a process of its own all the same, with its own
arguments, environment, output, plugin files, signals and end. What is forked is clean: the server runs nothing and has no
threads, and it knows nothing of dynaip. A test that is about the start of a process, or what imports say, starts one anew.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

from dynaip.signals import PARENT

LIBRARIES = (
    "diffusers.guiders",
    "diffusers.models.autoencoders.autoencoder_kl",
    "diffusers.models.transformers.transformer_flux",
    "diffusers.pipelines.flux.pipeline_flux",
    "diffusers.schedulers.scheduling_flow_match_euler_discrete",
    "transformers.models.clip.modeling_clip",
    "transformers.models.dinov2_with_registers.modeling_dinov2_with_registers",
    "transformers.models.siglip.modeling_siglip",
    "pandas",
    "pluggy",
    "pyarrow.pandas_compat",
    "pyarrow.parquet",
    "pydantic.main",
    "pydantic.type_adapter",
)
PARENTS = (PARENT, "JPY_PARENT_PID")
"""Variables that name the parent, which a process ends with: here the server is it."""

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(list(LIBRARIES))


class End:
    """One end of a pipe or file on its way to another process."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> Any:
        return _arrived, (DupFd(self.number),)


def _arrived(sent: Any) -> int:
    return sent.detach()


class Forked:
    """Stands in for ``subprocess.Popen`` where Python runs a module (``python -m MODULE …``) or a file (``python FILE …``).

    Nothing can be written to it, and where its output has no place it is thrown away.
    """

    def __init__(
        self, arguments: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: str | Path | None = None,
        stdin: Any = None, stdout: Any = None, stderr: Any = None, text: bool = False, start_new_session: bool = False,
    ) -> None:  # fmt: skip
        assert arguments[0] == sys.executable
        assert text or subprocess.PIPE not in (stdout, stderr)
        made: list[int] = []
        self.stdin, (self.stdout, out), (self.stderr, err) = None, _opened(stdout, made), _opened(stderr, made)
        environment = dict(os.environ if env is None else env)
        given = (list(arguments[1:]), environment, str(cwd or os.getcwd()), End(out), End(err), start_new_session)
        self.process = context.Process(target=_run, args=given)
        self.process.start()
        for each in made:
            os.close(each)
        assert self.process.pid is not None
        self.pid = self.process.pid
        while start_new_session and os.getpgid(self.pid) != self.pid:  # whoever signals the group is not to meet ours
            time.sleep(0.001)

    @property
    def returncode(self) -> int | None:
        """Exit code, or None while it runs."""
        return self.process.exitcode

    def poll(self) -> int | None:
        """Exit code, or None while it runs."""
        return self.process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; its exit code."""
        self.process.join(timeout)
        code = self.process.exitcode
        assert code is not None, f"it did not end in {timeout} seconds"
        return code

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Read what is left of its output, and wait for its end."""
        with ThreadPoolExecutor() as pool:
            said = [pool.submit(each.read) for each in (self.stdout, self.stderr) if each]
        self.wait(timeout)
        out, err = (each.result() for each in said)
        return out, err

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.process.terminate()

    def kill(self) -> None:
        """Kill it."""
        self.process.kill()


def together(command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str, str]:
    """Run a script in two processes that know of each other, as torch's launcher starts them; exit code and what was said.

    The launcher itself is slow to start. The two are told what it would tell them.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    meet = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    each = [dict(environment) | meet | {"RANK": rank, "LOCAL_RANK": rank} for rank in "01"]
    pipe = subprocess.PIPE
    both = [Forked([sys.executable, *command], env=one, stdout=pipe, stderr=pipe, text=True) for one in each]
    with ThreadPoolExecutor() as pool:  # neither waits for room in a pipe
        said = list(pool.map(lambda process: process.communicate(timeout=300), both))
    out, err = map("".join, zip(*said, strict=True))
    return max(abs(process.wait()) for process in both), out, err


def _opened(asked: Any, made: list[int]) -> tuple[Any, int]:
    """What is read here, and the number of what is written there; what is opened for it alone is added to ``made``."""
    if asked == subprocess.PIPE:
        read, write = os.pipe()
        made.append(write)
        return os.fdopen(read, encoding="utf-8"), write
    if asked in (None, subprocess.DEVNULL):
        made.append(os.open(os.devnull, os.O_WRONLY))
        return None, made[-1]
    return None, asked.fileno()


def _run(arguments: list[str], environment: Mapping[str, str], folder: str, out: int, err: int, alone: bool) -> None:
    if alone:
        os.setsid()
    for number, given in ((1, out), (2, err)):
        os.dup2(given, number)
    os.environ.clear()
    os.environ.update(environment | {name: str(os.getppid()) for name in PARENTS if name in environment})
    os.chdir(folder)
    name, *sys.argv[1:] = arguments[1:] if arguments[0] == "-m" else arguments
    if arguments[0] == "-m":
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    else:
        sys.argv[0] = name
        runpy.run_path(name, run_name="__main__")
