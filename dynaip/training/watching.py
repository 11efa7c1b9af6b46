"""What a training tells those who watch it: a line of ``metrics.jsonl`` for every logged step, and trackers of one's choice."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from dataclasses import asdict
from math import isfinite
from typing import Any, cast

import torch

from dynaip.config import ExperimentConfig
from dynaip.errors import MissingDependency
from dynaip.runs import Run
from dynaip.training.logs import append_log
from dynaip.training.progress import StepReport


def check_trackers(names: list[str]) -> None:
    """``MissingDependency`` with the line that installs it, for a tracker that is not there."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise MissingDependency(
                f"training.trackers: {name} is not installed: pip install {name} (or 'dynaip[trackers]' for all), or leave it out"
            )


class Watch:
    """Writes down and passes on what steps did. ``metrics.jsonl`` is the truth; trackers are told the same numbers.

    Only the first process has anything to tell. Nothing leaves this machine unless the tracker's own environment variables
    say so (``WANDB_MODE=online``).
    """

    def __init__(self, config: ExperimentConfig, run: Run, accelerator: Any) -> None:
        self.config, self.run, self.accelerator = config, run, accelerator
        self.last: tuple[int, float] | None = None
        """Step and seconds of the step that speed is counted from."""

    def begin(self) -> None:
        """Start the trackers; all processes call it."""
        names = self.config.training.trackers
        if not names:
            return
        os.environ.setdefault("WANDB_MODE", "offline")
        os.environ.setdefault("TRACKIO_DIR", str(self.run.path / "trackio"))
        name = self.run.path.name
        wandb = {"dir": str(self.run.path), "name": name, "id": name, "resume": "allow"}
        plain = _flat(self.config.resolved())
        flat = {key: value if isinstance(value, (int, float, str)) else str(value) for key, value in plain}
        self.accelerator.init_trackers("dynaip", config=flat, init_kwargs={"wandb": wandb, "trackio": {"name": name}})

    def log(self, report: StepReport) -> None:
        """Write down a step, with its speed and the accelerator's memory."""
        if not self.accelerator.is_main_process:
            return
        entry: dict[str, Any] = asdict(report) | self._speed(report) | self._memory()
        known = _known(entry | entry.pop("more"))
        append_log(self.run.metrics, known)
        values = {
            f"train/{key.replace('.', '/', 1)}": each
            for key, each in _flat(known)
            if each is not None and key not in ("step", "steps")
        }
        self.accelerator.log(values, step=report.step)

    def _speed(self, report: StepReport) -> dict[str, float | None]:
        """Steps and samples a second since the last logged step, and the seconds that are left at that speed."""
        before, self.last = self.last, (report.step, report.seconds)
        steps, seconds = (report.step - before[0], report.seconds - before[1]) if before else (0, 0.0)
        speed = steps / seconds if steps > 0 and seconds > 0 else None
        settings = self.config.training
        samples = settings.batch_size * settings.gradient_accumulation * self.accelerator.num_processes
        left = (report.steps - report.step) / speed if speed else None
        return {"steps_a_second": speed, "samples_a_second": speed and speed * samples, "seconds_left": left}

    def _memory(self) -> dict[str, float]:
        device = self.accelerator.device
        return {"gpu_gigabytes": torch.cuda.max_memory_allocated(device) / 1e9} if device.type == "cuda" else {}

    def end(self) -> None:
        """Let trackers write what they hold."""
        for tracker in self.accelerator.trackers:
            tracker.finish()


def _known(value: Any) -> Any:
    """The same without numbers that are not finite: JSON has null for them."""
    if isinstance(value, Mapping):
        return {key: _known(each) for key, each in cast("Mapping[str, Any]", value).items()}
    return None if isinstance(value, float) and not isfinite(value) else value


def _flat(values: Mapping[str, Any], path: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        place = f"{path}.{key}" if path else key
        found += _flat(value, place) if isinstance(value, Mapping) else [(place, value)]
    return found
