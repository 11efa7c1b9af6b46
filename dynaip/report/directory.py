"""What the directory of an ablation holds, read from its files alone; whatever is missing is left out."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

from dynaip.ablation.folder import AblationFolder
from dynaip.errors import DynaIPError
from dynaip.reading import Row, last_line, read_mapping, read_rows
from dynaip.registry import registry

WEIGHTS = "adapter.safetensors"
LONGEST_HEADER = 100_000_000
"""Bytes; safetensors itself refuses longer ones."""


@dataclass(frozen=True)
class ShownReference:
    """A reference of a case as the report shows it."""

    image: Path | None
    """None where the table names a file outside the folder of cases."""
    region: tuple[float, float, float, float] | None


@dataclass(frozen=True)
class ShownCase:
    """A case of the benchmark as the report shows it."""

    id: str
    suite: str
    prompt: str
    seed: int
    references: tuple[ShownReference, ...]


@dataclass(frozen=True)
class ShownArm:
    """One arm and training seed: a run inside the ablation, or a baseline shown beside the arms."""

    name: str
    folder: Path
    seed: int = 0
    baseline: bool = False
    training: Path | None = None
    """The run whose training this arm uses."""
    why: str = ""
    """Why that training serves this arm."""
    log: Path | None = None
    """What the worker said that was at it."""
    run: str = ""
    """RUN of a baseline; ``base`` is the base model without any reference."""

    @property
    def bare(self) -> bool:
        """Whether this is the base model without any reference."""
        return self.baseline and (self.run or self.name) == "base"

    @cached_property
    def status(self) -> dict[str, Any]:
        """What `status.json` says: state, seconds, error."""
        return read_mapping(self.folder / "status.json")

    @property
    def state(self) -> str:
        """`finished`, `failed`, `running` or `missing`."""
        return str(self.status.get("state", "missing"))

    @property
    def last_line(self) -> str:
        """Why a failed arm failed: its recorded error, or the last line of its worker's log."""
        return str(self.status.get("error") or "").strip() or (last_line(self.log) if self.log else "")

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved config of the arm, or of its adapter."""
        return read_mapping(self.folder / "config.yaml") or self.adapter

    @cached_property
    def adapter_folder(self) -> Path | None:
        """The folder with the adapter's weights: in the arm, in its training, or where the baseline's RUN is."""
        owners = [self.folder, *([self.training] if self.training else [])]
        folders = [owner / "adapter" for owner in owners]
        if self.baseline and not self.bare:
            folders += _folders_of(self.run or self.name)
        return next((folder for folder in folders if (folder / WEIGHTS).is_file()), None)

    @cached_property
    def adapter(self) -> dict[str, Any]:
        """The config saved with the adapter."""
        return read_mapping(self.adapter_folder / "config.json") if self.adapter_folder else {}

    @cached_property
    def parameters(self) -> int | None:
        """Trained parameters, counted from the header of the weights."""
        return count_parameters(self.adapter_folder / WEIGHTS) if self.adapter_folder else None

    @cached_property
    def steps(self) -> int | None:
        """Training steps as the run, its config or the adapter's config tell; None without an adapter."""
        if self.bare:
            return None
        beside = read_mapping(self.adapter_folder.parent / "config.yaml") if self.adapter_folder else {}
        own = () if self.baseline else (self.config,)
        return _steps(self.status, self.adapter, beside, *own)

    @cached_property
    def scores(self) -> list[Row]:
        """One row a case; none if the table lacks the columns that say which."""
        rows = read_rows(self.folder / "scores.parquet")
        return rows if rows and {"case", "suite"} <= rows[0].keys() else []

    @property
    def samples(self) -> Path:
        """Its images."""
        return self.folder / "samples"

    @property
    def seconds(self) -> float | None:
        """What its evaluation took."""
        found = self.status.get("seconds")
        return float(found) if isinstance(found, (int, float)) else None

    def image(self, case: ShownCase) -> Path | None:
        """The generated image of a case, if it is there."""
        folder = inside(self.samples, case.id)
        if folder is None:
            return None
        wanted = folder / f"{case.seed}.png"
        return wanted if wanted.is_file() else next(iter(sorted(folder.glob("*.png"))), None)


def inside(folder: Path, name: Any) -> Path | None:
    """What a table calls ``name`` in a folder; None for a name that leads out of it, as a stranger's table might."""
    path = PurePath(str(name))
    odd = (
        path.is_absolute()
        or not path.parts
        or any(part == ".." or "\0" in part or len(part) > 255 for part in path.parts)
    )
    return None if odd else folder / path


def _folders_of(run: str) -> list[Path]:
    """Where the adapter of a RUN may lie on this machine: a folder, or a bundle (asked without loading torch)."""
    try:
        if Path(run).is_dir():
            return [Path(run) / "adapter", Path(run)]
        bundle = registry().target("bundle", run)(registry().config_class("bundle", run)())
        return [bundle.folder("adapter")]
    except (DynaIPError, KeyError, OSError, ValueError):
        return []


def _steps(*places: Mapping[str, Any]) -> int | None:
    for place in places:
        training: Any = place.get("training")
        inner: Any = training if isinstance(training, dict) else {}  # pyright: ignore[reportUnknownVariableType]
        for found in (place.get("steps"), place.get("trained_steps"), inner.get("steps")):
            if isinstance(found, int):
                return found
    return None


def count_parameters(weights: Path) -> int | None:
    """Number of values in a safetensors file, from its header; None if the file cannot be read."""
    try:
        with weights.open("rb") as data:
            (length,) = struct.unpack("<Q", data.read(8))
            header: dict[str, Any] = json.loads(data.read(min(length, LONGEST_HEADER)))
        return sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, struct.error):
        return None


@dataclass(frozen=True)
class AblationDirectory:
    """The directory of an ablation."""

    path: Path
    plan: dict[str, Any] = field(default_factory=dict[str, Any])

    @classmethod
    def read(cls, path: Path) -> AblationDirectory:
        """Open a directory; nothing in it is required."""
        return cls(path, read_mapping(AblationFolder(path).plan))

    @property
    def files(self) -> AblationFolder:
        """Where everything lies."""
        return AblationFolder(self.path)

    @property
    def title(self) -> str:
        """Name of the ablation: the plan's, or the directory's."""
        return str(self.plan.get("name") or self.path.resolve().name)

    @property
    def question(self) -> str:
        """What the ablation asks."""
        return str(self.plan.get("question") or "")

    @cached_property
    def planned(self) -> list[ShownArm]:
        """Arms of the plan that can be read."""
        entries: Any = self.plan.get("arms")
        return [arm for entry in (entries if isinstance(entries, list) else []) if (arm := self._planned(entry))]

    @cached_property
    def arms(self) -> list[ShownArm]:
        """Arms in the order of the plan, then baselines; without a plan, the folders that are there."""
        known = {arm.folder for arm in self.planned}
        found = [folder for folder in sorted(self.files.arms.glob("*")) if folder.is_dir() and folder not in known]
        return self.planned + [ShownArm(folder.name.rpartition("-")[0] or folder.name, folder) for folder in found]

    def _planned(self, entry: Any) -> ShownArm | None:
        """An arm of the plan; None if the entry is damaged or leads out of the directory."""
        about: dict[str, Any] = entry if isinstance(entry, dict) else {}
        folder, training = inside(self.files.arms, about.get("folder", "")), about.get("training")
        if folder is None or "name" not in about:
            return None
        seed = about.get("seed", 0)
        return ShownArm(
            name=str(about["name"]),
            folder=folder,
            seed=seed if isinstance(seed, int) else 0,
            baseline=bool(about.get("baseline", False)),
            training=inside(self.files.trainings, training) if training else None,
            log=inside(self.files.logs, f"{training or folder.name}.txt"),
            why=str(about.get("why") or ""),
            run=str(about.get("run") or ""),
        )

    @property
    def reference_arm(self) -> str | None:
        """The arm that the others are compared with: the first of the plan."""
        return next((arm.name for arm in self.arms if not arm.baseline), None)

    @cached_property
    def cases(self) -> list[ShownCase]:
        """The benchmark's cases in order."""
        return [case for row in read_rows(self.files.case_table) if (case := self._case(row))]

    @property
    def case_rows(self) -> int:
        """Rows of the table of cases, damaged ones included."""
        return len(read_rows(self.files.case_table))

    def _case(self, row: Row) -> ShownCase | None:
        """A case; None if its row is damaged."""
        try:
            stored = row.get("references") or "[]"
            entries: list[dict[str, Any]] = json.loads(stored) if isinstance(stored, str) else stored
            references = tuple(
                ShownReference(inside(self.files.cases, entry["image"]), _box(entry.get("region"))) for entry in entries
            )
            return ShownCase(str(row["case"]), str(row["suite"]), str(row["prompt"]), int(row["seed"]), references)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return None

    @cached_property
    def scores(self) -> list[Row]:
        """Scores of all arms: arm, seed (of training), suite, case and the metrics."""
        return [{**row, "arm": arm.name, "seed": arm.seed} for arm in self.arms for row in arm.scores]

    @property
    def timings(self) -> dict[str, Any]:
        """What `timings.json` tells."""
        return read_mapping(self.files.timings)

    @property
    def environment(self) -> dict[str, Any]:
        """What `environment.json` tells, from the directory or from its first run that has one."""
        places = [self.path, *sorted(self.files.trainings.glob("*")), *(arm.folder for arm in self.arms)]
        nothing: dict[str, Any] = {}
        return next((found for place in places if (found := read_mapping(place / "environment.json"))), nothing)


def _box(region: Any) -> tuple[float, float, float, float] | None:
    if not region:
        return None
    left, top, right, bottom = (float(edge) for edge in region)
    return left, top, right, bottom
