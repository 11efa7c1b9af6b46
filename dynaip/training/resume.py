"""When a run may go on: its folder, its config, and the step that its logs are cut to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dynaip.atomic import write_text
from dynaip.config import ExperimentConfig, load_saved
from dynaip.config.differences import differences
from dynaip.errors import InputError, MismatchError
from dynaip.runs import Run
from dynaip.training import checkpoints

MAY_CHANGE = {
    "steps",
    "checkpoint_every",
    "keep_checkpoints",
    "sample_every",
    "log_every",
    "workers",
    "threads",
    "max_bad_steps",
    "max_bad_share",
}
"""Fields of ``training`` that a resumed run may have changed; so may ``evaluation`` and the place of plugin files."""


def check_folder(run: Run, config: ExperimentConfig, *, resume: bool) -> None:
    """Refuse a folder of something else, a run without ``resume``, or (naming the field) a run of another config."""
    if not run.config.exists():
        if any(not entry.name.startswith(".") for entry in run.path.iterdir()):
            raise InputError(f"{run.path} is not empty and holds no run: choose another folder")
        return
    if not resume:
        raise InputError(f"{run.path} holds a run already: add --resume to go on with it, or choose another folder")
    before = load_saved(run.config).resolved()
    for path, old, new in differences(before, config.resolved()):
        top, _, rest = path.partition(".")
        if top not in {"evaluation", "plugins"} and not (top == "training" and rest in MAY_CHANGE):
            raise MismatchError(
                f"{run.path}: {path} was {old!r} and is now {new!r}; a resumed run keeps it: set it back, or "
                "choose another folder"
            )


def finished(run: Run, steps: int) -> bool:
    """Whether the run's adapter is there and has been trained for ``steps`` steps at least."""
    reached = checkpoints.found(run.checkpoints)
    return (run.adapter / "config.json").is_file() and bool(reached) and checkpoints.step_of(reached[-1]) >= steps


def cut_log(path: Path, step: int) -> None:
    """Drop a log's lines after ``step``, and a line that was broken off."""
    if not path.exists():
        return
    kept: list[str] = []
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except (ValueError, KeyError, TypeError):
            break
    write_text(path, "".join(line + "\n" for line in kept))


def append_log(path: Path, entry: dict[str, Any]) -> None:
    """Add one JSON line."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")
