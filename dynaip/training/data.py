"""Pairs in a reproducible order, and bad ones put aside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from dynaip.config import ComponentSpec
from dynaip.contracts import Pair, PairSource
from dynaip.errors import BadSample, InputError, PluginError
from dynaip.notes import caught
from dynaip.promises import check_pair
from dynaip.registry import registry
from dynaip.training.logs import append_log
from dynaip.training.order import Indices, Shuffle, groups_of
from dynaip.training.order import indices_at as indices_at

LISTED = 10
"""Bad pairs that an error names; the file names all of them."""


@dataclass(frozen=True)
class Bad:
    """A pair that cannot be used."""

    index: int
    reason: str
    name: str = ""
    """What the source calls it."""


@dataclass(frozen=True, eq=False)
class BatchOrder:
    """Which pairs are asked for when: batches are numbered from 0 in each of ``world`` processes."""

    batch: int
    seed: int
    size: int
    """Pairs in the source."""
    rank: int = 0
    world: int = 1
    groups: Indices | None = None
    """Number of each pair's size: a batch holds one size. None if there is one alone. Below 0 is never trained on."""
    blocks: Sequence[int] | None = None
    """See ``PairSource.blocks``."""
    shuffle: Shuffle = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shuffle", Shuffle(self.size, self.seed, self.groups, self.blocks))

    def number(self, number: int) -> int:
        """The number that a batch of this process has among those of all processes."""
        return number * self.world + self.rank

    def at(self, number: int) -> list[int]:
        """Pairs of a batch of this process."""
        return self.shuffle.batch(self.number(number), self.batch)

    def after(self, index: int) -> Iterator[int]:
        """A pair and those that may stand in for it, the next ones first."""
        return self.shuffle.after(index)


class PairDataset(Dataset[Any]):
    """A source whose bad pairs come back as ``Bad`` rather than as an exception.

    With ``spec`` a loader worker builds the source anew instead of unpickling it, so that plugin files work.
    """

    def __init__(self, source: PairSource, spec: ComponentSpec | None = None) -> None:
        self.source, self.spec = source, spec

    def __len__(self) -> int:
        return len(self.source)

    @cached_property
    def sizes(self) -> tuple[list[tuple[int, int]], Indices] | None:
        """The different (height, width) of the targets, and the number of each pair's; None if all have one size.

        Raises ``PluginError`` if the source does not tell one for each pair.
        """
        told = self.source.sizes()
        if told is None:
            return None
        if len(told) != len(self):
            raise PluginError(f"{self._who()}: sizes must give one size a pair; it gave {len(told)} for {len(self)}")
        return groups_of(told)

    def _who(self) -> str:
        return f"source {self.spec.use if self.spec else type(self.source).__name__}"

    def __getitem__(self, index: int) -> Pair | Bad:
        try:
            with caught() as notes:
                pair: Any = self.source[index]
        except (BadSample, InputError) as error:
            return Bad(index, str(error), self.source.name(index))
        pair = check_pair(self._who(), index, pair)
        return replace(pair, notes=(*pair.notes, *notes)) if notes else pair

    def __getstate__(self) -> dict[str, Any]:
        if self.spec is None:
            return {key: value for key, value in self.__dict__.items() if key != "sizes"}
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
            named = {"name": bad.name} if bad.name else {}
            append_log(self.file, {"index": bad.index, **named, "reason": bad.reason})
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
        listed = "; ".join(f"pair {index}: {reason}" for index, reason in sorted(self.bad.items())[:LISTED])
        return listed + (f"; and {len(self.bad) - LISTED} more" if len(self.bad) > LISTED else "")
