"""The folder of an ablation: where everything lies, what one process has to do, and what state an arm is in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dynaip.atomic import write_json
from dynaip.errors import InputError
from dynaip.reading import check_picture, check_tensors, mapping, read_mapping, read_rows, table
from dynaip.runs import Run

WEIGHTS = "adapter.safetensors"
FINISHED, FAILED, RUNNING, WAITING, MISSING = "finished", "failed", "running", "waiting", "missing"
"""States of an arm; an arm that waits was asked to stop and goes on where it was."""


@dataclass(frozen=True)
class ArmFolder(Run):
    """The folder of one arm: a run that also has a state."""

    @property
    def scores(self) -> Path:
        """One row a case."""
        return self.path / "scores.parquet"

    @property
    def status(self) -> Path:
        """State, seconds, steps, or the error."""
        return self.path / "status.json"

    def state(self) -> str:
        """State of the arm; ``missing`` as long as nothing has begun."""
        return str(read_mapping(self.status).get("state", MISSING))

    def error(self) -> str:
        """Why the arm failed, in one line; empty if it did not."""
        return " ".join(str(read_mapping(self.status).get("error") or "").split())

    def finished(self) -> bool:
        """Whether the arm has its scores; a damaged table counts as none, and is made again from the images."""
        return self.state() == FINISHED and bool(read_rows(self.scores))

    def damage(self) -> list[str]:
        """What of a finished arm has to be made again, a line each: its scores, the images behind them, its adapter.

        Where the folder of images is gone altogether somebody made room, and it is left alone.
        """
        try:
            if mapping(self.status).get("state") != FINISHED:
                return []
            rows = table(self.scores)
        except InputError as error:
            return [str(error)]
        if not {"case", "suite", "seed"} <= (rows[0] if rows else {}).keys():
            return [f"{self.scores} is missing or has no cases"]
        weights = self.adapter / WEIGHTS
        pictures = [self.samples / str(row["case"]) / f"{row['seed']}.png" for row in rows if self.samples.is_dir()]
        checks = [(check_picture, path) for path in pictures] + [(check_tensors, weights)] * weights.exists()
        return [line for check, path in checks if (line := _damaged(check, path))]

    def mark(self, state: str, **details: Any) -> None:
        """Note the arm's state."""
        write_json(self.status, {"state": state, **details}, indent=None)


def _damaged(check: Callable[[Path], None], path: Path) -> str:
    try:
        check(path)
    except InputError as error:
        return str(error)
    return ""


@dataclass(frozen=True)
class GroupArm:
    """What a worker has to know of an arm."""

    name: str
    folder: str
    run: str | None


@dataclass(frozen=True)
class ArmGroup:
    """What one process does: train one adapter and evaluate the arms that it serves, or evaluate a baseline."""

    name: str
    arms: Sequence[GroupArm]
    training: str | None
    """Hash of the training; None for a baseline."""
    steps: int | None
    threads: int | None
    plugins: Sequence[str]
    """Files whose components take part."""
    shares: bool = False
    """Whether another training of the ablation asks for the same encodings."""

    @classmethod
    def read(cls, path: Path) -> ArmGroup:
        """Read what ``write`` wrote; ``InputError`` if it is gone or damaged."""
        found = mapping(path)
        try:
            arms = [GroupArm(**arm) for arm in found.pop("arms")]
            return cls(arms=arms, **found)
        except (KeyError, TypeError) as error:
            raise InputError(f"{path} is gone or damaged: start the ablation again with --resume") from error

    def write(self, path: Path) -> None:
        """Write the group as JSON."""
        write_json(path, asdict(self), indent=1)


@dataclass(frozen=True)
class AblationFolder:
    """Where everything of an ablation lies."""

    path: Path

    @property
    def plan(self) -> Path:
        """What will be done, and why."""
        return self.path / "plan.yaml"

    @property
    def results(self) -> Path:
        """One row for every arm, seed and suite."""
        return self.path / "results.csv"

    @property
    def report(self) -> Path:
        """The page."""
        return self.path / "report.html"

    @property
    def summary(self) -> Path:
        """The figures of the page's tables."""
        return self.path / "summary.csv"

    @property
    def timings(self) -> Path:
        """Seconds of trainings and arms."""
        return self.path / "timings.json"

    @property
    def environment(self) -> Path:
        """Versions and machine."""
        return self.path / "environment.json"

    @property
    def arms(self) -> Path:
        """One folder an arm."""
        return self.path / "arms"

    @property
    def trainings(self) -> Path:
        """One run a training, each beside its config."""
        return self.path / "trainings"

    @property
    def cases(self) -> Path:
        """The benchmark's cases and their references."""
        return self.path / "cases"

    @property
    def case_table(self) -> Path:
        """One row a case."""
        return self.cases / "cases.parquet"

    @property
    def encodings(self) -> Path:
        """What trainings share while they run."""
        return self.path / "encodings"

    @property
    def analysis(self) -> Path:
        """What the report's sections computed."""
        return self.path / "analysis"

    @property
    def logs(self) -> Path:
        """What the workers said."""
        return self.path / "logs"

    def arm(self, name: str) -> ArmFolder:
        """The folder of an arm."""
        return ArmFolder(self.arms / name)

    def training(self, name: str) -> Run:
        """The run of a training."""
        return Run(self.trainings / name)

    def training_config(self, name: str) -> Path:
        """What is trained, written before anything is."""
        return self.trainings / f"{name}.yaml"

    def group(self, name: str) -> Path:
        """What a worker has to do."""
        return self.path / "groups" / f"{name}.json"

    def group_lock(self, name: str) -> Path:
        """Held by the worker that is at it."""
        return self.path / "groups" / f"{name}.lock"

    def log(self, group: str) -> Path:
        """What the worker of a group said."""
        return self.logs / f"{group}.txt"
