"""Which pairs come when: known from the seed and the number of a batch alone, so that a resumed run needs no memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]

TOGETHER = 16
"""Blocks (shards, row groups) whose pairs are shuffled among each other."""
SCHEDULE, BLOCKS = 0x5C, 0xB1
"""Which draw a seed is for."""


class Shuffle:
    """Batches of pairs: every pair once an epoch, in an order of its own each time.

    ``groups`` gives every pair the number of what it may share a batch with (targets of one size). Each group runs through
    epochs of its own, and in ``batch`` epochs of the whole each gets as many batches as it has pairs: nothing is repeated or
    left out. ``blocks`` are numbers of consecutive pairs that lie together. Pairs of a group below 0 never come.
    """

    def __init__(
        self, size: int, seed: int, groups: Sequence[int] | Indices | None = None, blocks: Sequence[int] | None = None
    ) -> None:
        self.size, self.seed = size, seed
        self.groups = None if groups is None else np.asarray(groups, dtype=np.int64)
        self.counts = None if self.groups is None else np.bincount(self.groups[self.groups >= 0])
        self.cycle = size if self.counts is None else int(self.counts.sum())
        """Batches of a cycle: pairs that come at all."""
        self.blocks = None if blocks is None else tuple(blocks)
        self.schedule, self.members = lru_cache(4)(self._schedule), lru_cache(256)(self._members)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in ("schedule", "members")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.schedule, self.members = lru_cache(4)(self._schedule), lru_cache(256)(self._members)

    def batch(self, step: int, size: int) -> list[int]:
        """Pairs of batch ``step`` (from 0) of ``size`` pairs, all of one group."""
        group, number = self._place(step)
        total = self.size if self.counts is None else int(self.counts[group])
        places = range(number * size, (number + 1) * size)
        return [int(self.members(group, place // total)[place % total]) for place in places]

    def after(self, index: int) -> Iterator[int]:
        """A pair and those that may stand in for it, the next ones of its group first."""
        for offset in range(self.size):
            place = (index + offset) % self.size
            if self.groups is None or self.groups[place] == self.groups[index]:
                yield place

    def _place(self, step: int) -> tuple[int, int]:
        """Group of a batch, and how many batches of the group came before it."""
        if self.groups is None or self.counts is None:
            return 0, step
        cycle, place = divmod(step, self.cycle)
        chosen, earlier = self.schedule(cycle)
        group = int(chosen[place])
        return group, cycle * int(self.counts[group]) + int(earlier[place])

    def _schedule(self, cycle: int) -> tuple[Indices, Indices]:
        """Group of every batch of a cycle (as many batches as there are pairs), and how many of that group came before."""
        assert self.groups is not None
        drawn = self.groups[np.random.default_rng((self.seed, cycle, SCHEDULE)).permutation(self.size)]
        chosen = drawn[drawn >= 0]
        earlier = np.empty(self.size, dtype=np.int64)
        for group in np.unique(chosen):
            places = np.flatnonzero(chosen == group)
            earlier[places] = np.arange(len(places))
        return chosen, earlier

    def _members(self, group: int, epoch: int) -> Indices:
        order = permutation(self.seed, epoch, self.size, self.blocks)
        return order if self.groups is None else order[self.groups[order] == group]


@lru_cache(maxsize=4)
def permutation(seed: int, epoch: int, size: int, blocks: tuple[int, ...] | None = None) -> Indices:
    """The order of an epoch; with ``blocks``, ``TOGETHER`` of them are begun and ended before the next ones."""
    if blocks is None:
        return np.random.default_rng((seed, epoch)).permutation(size)
    chance = np.random.default_rng((seed, epoch, BLOCKS))
    starts, order = [0, *accumulate(blocks)], chance.permutation(len(blocks)).tolist()
    opened = [order[at : at + TOGETHER] for at in range(0, len(order), TOGETHER)]
    parts = [[np.arange(starts[one], starts[one + 1]) for one in some] for some in opened]
    return np.concatenate([chance.permutation(np.concatenate(part)) for part in parts])


def groups_of(sizes: Sequence[tuple[int, int]]) -> tuple[list[tuple[int, int]], Indices]:
    """The different sizes, sorted, and for every pair the number of its size."""
    different, numbers = np.unique(np.asarray(sizes, dtype=np.int64).reshape(-1, 2), axis=0, return_inverse=True)
    return [(int(height), int(width)) for height, width in different], numbers.reshape(-1).astype(np.int64)


def indices_at(step: int, *, batch: int, size: int, seed: int) -> list[int]:
    """Pairs of step ``step`` (from 0) where all targets have one size."""
    return Shuffle(size, seed).batch(step, batch)
