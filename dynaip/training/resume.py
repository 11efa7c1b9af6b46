"""When a run may go on: its folder, its config, and the step that its logs are cut to."""

from __future__ import annotations

import json
from typing import Any

from dynaip import atomic
from dynaip.adapter.files import CONFIG, WEIGHTS, read_weights
from dynaip.config import ExperimentConfig, TrainingConfig, load_saved
from dynaip.config.differences import differences
from dynaip.errors import DynaIPError, InputError, MismatchError
from dynaip.runs import Run
from dynaip.training import checkpoints

FREE = {"evaluation", "plugins", *(f"training.{name}" for name in TrainingConfig.may_change())}
"""What a resumed run may have changed."""


def check_folder(run: Run, config: ExperimentConfig, *, resume: bool) -> None:
    """Refuse a folder of something else, a run without ``resume``, or (naming the field) a run of another config."""
    if not run.config.exists():
        if any(not entry.name.startswith(".") for entry in run.path.iterdir()):
            raise InputError(f"{run.path} is not empty and holds no run: choose another folder")
        return
    if not resume:
        raise InputError(f"{run.path} holds a run already: add --resume to go on with it, or choose another folder")
    _check_places(run)
    before = load_saved(run.config)
    found = [*differences(before.resolved(), config.resolved())]
    held = before.training.held_out, config.training.held_out
    if held[0] != held[1]:  # the rest of what validation does changes no weight
        found.insert(0, ("the number of pairs that training.validation holds out", *held))
    for path, old, new in found:
        if path not in FREE and path.partition(".")[0] not in FREE and not path.startswith("training.validation"):
            raise MismatchError(
                f"{run.path}: {path} was {old!r} and is now {new!r}; a resumed run keeps it: set it back, or "
                "choose another folder"
            )


def _check_places(run: Run) -> None:
    """Refuse at once what would end the training when it comes to write."""
    for folder in (run.checkpoints, run.adapter, run.samples):
        atomic.check_folder(folder)
    for file in (run.config, run.metrics, run.order, run.quarantine):
        if file.is_dir():
            raise InputError(f"{file} is a folder, and a file has to be there: move it elsewhere")
    checkpoints.found(run.checkpoints)


def finished(run: Run, steps: int) -> bool:
    """Whether the run's adapter is the newest that was trained, after ``steps`` steps at least.

    It is known by its digest, or else weight by weight from the newest checkpoint: a process that is killed between its last
    checkpoint and its adapter leaves an adapter that is absent or older.
    """
    reached = checkpoints.found(run.checkpoints)
    newest = checkpoints.step_of(reached[-1]) if reached else 0
    try:
        json.loads((run.adapter / CONFIG).read_text(encoding="utf-8"))
        if _noted_steps(run) >= max(steps, newest):
            return True
        if newest < steps:
            return False
        last, stored = checkpoints.load(reached[-1]), read_weights(run.adapter / WEIGHTS)
        trained = last.adapter | last.average
    except (DynaIPError, OSError, ValueError):
        return False
    return stored.keys() == trained.keys() and all(stored[name].equal(value) for name, value in trained.items())


def note_trained(run: Run, steps: int) -> None:
    """Write down how many steps the adapter that lies there was trained for: checkpoints may then be removed."""
    atomic.write_json(run.trained, {"steps": steps, "adapter": checkpoints.digest(run.adapter / WEIGHTS)})


def _noted_steps(run: Run) -> int:
    """Steps of the adapter that lies there; 0 if nothing was written down about it."""
    try:
        noted: Any = json.loads(run.trained.read_text(encoding="utf-8"))
        known = noted["adapter"] == checkpoints.digest(run.adapter / WEIGHTS)
        return int(noted["steps"]) if known else 0
    except (OSError, ValueError, KeyError, TypeError):
        return 0
