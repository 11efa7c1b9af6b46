"""What runs there are below a folder: state, step, loss and scores, from files alone."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from statistics import fmean
from typing import Any

from dynaip.errors import InputError
from dynaip.reading import entries, last_entry, read_mapping, read_rows
from dynaip.runs import LOCK, Run
from dynaip.scores import KEYS

DEEPEST = 4
"""Folders below the given one that are looked into: an ablation among others holds its runs at the third."""
RECENT = 20
"""Logged steps whose losses are told as one mean: a single one says little."""
LONG_AGO = 600.0
"""Seconds after which a note of another machine's process is that of a dead one."""
INNER = frozenset({"checkpoints", "adapter", "samples", "analysis", "cases", "logs", "groups"})
"""Folders of a run that hold no runs."""


@dataclass(frozen=True)
class RunState:
    """One run, as its files tell."""

    run: str
    """Its folder, below the one that was asked for."""
    state: str
    """``running``, ``finished``, ``failed``, ``stopped`` (something to go on with), ``waiting`` (nothing done so far)."""
    step: int | None
    steps: int | None
    loss: float | None
    """Mean over the last logged steps."""
    validation_loss: float | None
    scores: dict[str, float] = field(default_factory=dict[str, float])
    """Metric -> mean over all cases."""

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def runs_below(folder: Path) -> list[RunState]:
    """List the runs below a folder (or the folder itself), by name; ``InputError`` if there is no such folder."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder: name one that holds runs")
    return [run_state(found, folder) for found in _found(folder, DEEPEST)]


def _found(folder: Path, depth: int) -> Iterator[Path]:
    if (folder / "config.yaml").is_file():
        yield folder
        return
    if depth:
        inner = (each for each in folder.iterdir() if each.name not in INNER and each.name[0] != "." and each.is_dir())
        for each in sorted(inner):
            yield from _found(each, depth - 1)


def run_state(path: Path, below: Path) -> RunState:
    """What a run's files tell; damaged ones tell nothing."""
    run, rows = Run(path), read_rows(path / "scores.parquet")
    log = entries(run.metrics)
    training = read_mapping(run.config).get("training")
    steps = training.get("steps") if isinstance(training, dict) else None
    losses = [loss for each in log[-RECENT:] if (loss := number(each.get("loss"))) is not None]
    validated = [loss for each in log if (loss := number(each.get("validation_loss"))) is not None]
    done = read_mapping(run.trained).get("steps")
    step = log[-1].get("step") if log else done
    return RunState(
        run=str(path.relative_to(below)) if path != below else path.name,
        state=_state(run, done=done, steps=steps, scored=bool(rows)),
        step=step if isinstance(step, int) else None,
        steps=steps if isinstance(steps, int) else None,
        loss=fmean(losses) if losses else None,
        validation_loss=validated[-1] if validated else None,
        scores=mean_scores(rows),
    )


def number(value: Any) -> float | None:
    """A finite number, or None."""
    known = isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)
    return float(value) if known else None


def mean_scores(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Metric -> mean over the cases that have it."""
    names = [name for name in (rows[0] if rows else {}) if name not in KEYS]
    columns = {name: [value for row in rows if (value := number(row.get(name))) is not None] for name in names}
    return {name: fmean(values) for name, values in columns.items() if values}


def _state(run: Run, *, done: Any, steps: Any, scored: bool) -> str:
    noted = read_mapping(run.path / "status.json").get("state")
    # An arm is evaluated while its ablation holds the folder around it.
    if _held(run.path / LOCK) or (noted == "running" and _held(run.path.parents[1] / LOCK)):
        return "running"
    if noted == "failed":
        return "failed"
    trained = isinstance(done, int) and (not isinstance(steps, int) or done >= steps)
    if scored or trained or noted == "finished":
        return "finished"
    begun = run.metrics.exists() or any(run.checkpoints.glob("step-*")) or noted == "running"
    return "stopped" if begun else "waiting"


def _held(note: Path) -> bool:
    """Whether a process holds the folder; one of another machine renews its note (clocks may differ by a few minutes)."""
    held = last_entry(note)
    if held.get("host") != socket.gethostname():
        return bool(held) and time.time() - note.stat().st_mtime < LONG_AGO
    try:
        os.kill(int(held.get("pid", 0)), 0)
    except PermissionError:
        return True
    except (OSError, ValueError, TypeError):
        return False
    return True
