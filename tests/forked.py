"""Processes that have torch, diffusers and transformers from their start: forked from a server that has imported them once.

A worker of an ablation imports for six seconds and works for one. Here it is a process of its own all the same, with its own
arguments, environment, log, plugin files and end. What is forked is clean: the server runs nothing and has no threads.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
from collections.abc import Mapping, Sequence
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

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(list(LIBRARIES))


class Forked:
    """Stands in for ``subprocess.Popen`` where a module is run (``python -m MODULE …``) and its output goes to a file."""

    def __init__(
        self, arguments: Sequence[str], *, stdout: Any, stderr: Any, env: Mapping[str, str], stdin: Any = None
    ) -> None:
        python, flag, module, *rest = arguments
        assert (python, flag, stdin) == (sys.executable, "-m", subprocess.DEVNULL)
        assert stdout is stderr
        self.process = context.Process(target=_run, args=(module, rest, stdout.name, dict(env)))
        self.process.start()
        self.pid = self.process.pid

    def poll(self) -> int | None:
        """Exit code, or None while it runs."""
        return self.process.exitcode

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        assert self.pid is not None
        os.kill(self.pid, number)


def _run(module: str, arguments: Sequence[str], log: str, environment: Mapping[str, str]) -> None:
    file = os.open(log, os.O_WRONLY | os.O_APPEND)
    for number in (1, 2):
        os.dup2(file, number)
    os.environ.clear()
    os.environ.update(environment)
    if PARENT in environment:  # the server has forked it
        os.environ[PARENT] = str(os.getppid())
    sys.argv[1:] = arguments
    runpy.run_module(module, run_name="__main__", alter_sys=True)
