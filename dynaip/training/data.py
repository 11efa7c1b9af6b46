"""Pairs in a reproducible order, and bad ones put aside."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from dynaip.config import ComponentSpec
from dynaip.contracts import Pair, PairSource
from dynaip.errors import BadSample, InputError
from dynaip.notes import caught
from dynaip.promises import check_pair
from dynaip.registry import registry
from dynaip.training.logs import append_log

LISTED = 10
"""Bad pairs that an error names; the file names all of them."""


@dataclass(frozen=True)
class Bad:
    """A pair that cannot be used."""

    index: int
    reason: str


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, size: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng((seed, epoch)).permutation(size)


def indices_at(step: int, *, batch: int, size: int, seed: int) -> list[int]:
    """Pairs of step ``step`` (from 0): a new permutation every epoch, known from the seed and the step alone."""
    places = range(step * batch, (step + 1) * batch)
    return [int(_permutation(seed, place // size, size)[place % size]) for place in places]


@dataclass(frozen=True)
class BatchOrder:
    """Which pairs are asked for when: batches are numbered from 0 in each of ``world`` processes."""

    batch: int
    seed: int
    size: int
    """Pairs in the source."""
    rank: int = 0
    world: int = 1

    def number(self, number: int) -> int:
        """The number that a batch of this process has among those of all processes."""
        return number * self.world + self.rank

    def at(self, number: int) -> list[int]:
        """Pairs of a batch of this process."""
        return indices_at(self.number(number), batch=self.batch, size=self.size, seed=self.seed)


class PairDataset(Dataset[Any]):
    """A source whose bad pairs come back as ``Bad`` rather than as an exception.

    With ``spec`` a loader worker builds the source anew instead of unpickling it, so that plugin files work.
    """

    def __init__(self, source: PairSource, spec: ComponentSpec | None = None) -> None:
        self.source, self.spec = source, spec

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Pair | Bad:
        try:
            with caught() as notes:
                pair: Any = self.source[index]
        except (BadSample, InputError) as error:
            return Bad(index, str(error))
        pair = check_pair(f"source {self.spec.use if self.spec else type(self.source).__name__}", index, pair)
        return replace(pair, notes=(*pair.notes, *notes)) if notes else pair

    def __getstate__(self) -> dict[str, Any]:
        if self.spec is None:
            return self.__dict__
        return {"raw": self.spec.dump(), "files": registry().files}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "raw" not in state:
            self.__dict__.update(state)
            return
        for file in state["files"]:
            registry().load_file(file)
        self.spec = ComponentSpec.parse("source", state["raw"])
        self.source = registry().build(self.spec)


class Quarantine:
    """Remembers bad pairs, writes them down, and stops the run when more than ``share`` of ``size`` pairs are bad.

    One bad pair alone stops a run only if ``share`` is 0, however small the set is.
    """

    def __init__(self, file: Path, size: int, share: float) -> None:
        self.file, self.size, self.share = file, size, share
        self.limit = max(1, int(share * size)) if share else 0
        self.bad: dict[int, str] = {}

    def add(self, *found: Bad) -> int:
        """Note some and give how many are new; ``InputError`` lists them when they are too many."""
        new = [bad for bad in found if bad.index not in self.bad]
        for bad in new:
            self.bad[bad.index] = bad.reason
            append_log(self.file, {"index": bad.index, "reason": bad.reason})
        if len(self.bad) > self.limit:
            allowed = f"training.max_bad_share: {self.share:g} allows"
            raise InputError(f"{self._count()} cannot be used, more than {allowed} ({self.file}): {self.reasons()}")
        return len(new)

    def told(self) -> str:
        """One line that says which pairs are left out, and why."""
        return f"{self._count()} left out: {self.reasons()}"

    def _count(self) -> str:
        return f"{len(self.bad)} of {self.size} pair{'s' * (self.size != 1)}"

    def reasons(self) -> str:
        """What is wrong with the first bad pairs."""
        listed = "; ".join(f"pair {index}: {reason}" for index, reason in list(self.bad.items())[:LISTED])
        return listed + (f"; and {len(self.bad) - LISTED} more" if len(self.bad) > LISTED else "")
