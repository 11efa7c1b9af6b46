"""Sections prepared several at a time, each in a process of its own on this machine, as arms are."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dynaip.ablation.driver import drive
from dynaip.ablation.execute import local_executor, why_crashed
from dynaip.ablation.folder import AblationFolder
from dynaip.contracts import Job
from dynaip.notes import tell
from dynaip.reading import read_mapping
from dynaip.registry import registry

State = dict[str, Any]
"""``seconds`` and ``error`` of a section."""


def prepare_apart(directory: Path, names: Sequence[str], *, jobs: int, threads: int | None = None) -> dict[str, State]:
    """Prepare sections (qualified names, the longest first), ``jobs`` at a time; give the state of each.

    ``threads`` are those of each process; None shares the cores out. What a process dies of is the error of its section, and
    its notes are told here.
    """
    gpus = read_mapping(AblationFolder(directory).plan).get("gpus", 0)
    with TemporaryDirectory(prefix="dynaip-") as place:
        answers = {name: Path(place) / f"{number}.json" for number, name in enumerate(names)}
        asked = {name: _job(directory, name, answer, gpus) for name, answer in answers.items()}
        codes = drive(local_executor(jobs, threads), [*asked.values()], on_change=lambda job, what: None)
        return {name: _state(answers[name], codes[job.name], job) for name, job in asked.items()}


def _job(directory: Path, name: str, answer: Path, gpus: Any) -> Job:
    called = name.replace(":", "-")
    files = [str(file) for file in registry().files]
    command = (sys.executable, "-m", "dynaip.report", str(directory.absolute()), name, str(answer), *files)
    return Job(called, command, AblationFolder(directory).log(called), gpus if isinstance(gpus, int) else 0)


def _state(answer: Path, code: int, job: Job) -> State:
    try:
        found: Mapping[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {"seconds": None, "error": why_crashed(code, job.log)}
    for kind, line in found["notes"]:
        tell(line, kind=kind)
    return {"seconds": found["seconds"], "error": found["error"]}
