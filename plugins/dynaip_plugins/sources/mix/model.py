"""Pairs of several sources: each gives its share, all of its pairs, and the smaller ones theirs several times."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import replace
from itertools import accumulate

from dynaip.contracts import Pair, PairSource
from dynaip.errors import BadSample, InputError
from dynaip.registry import registry

from .config import MixConfig


class MixedPairs(PairSource):
    """The pairs of every source, repeated as its weight asks, one source after another; their order is the training's."""

    def __init__(self, config: MixConfig) -> None:
        self.config = config
        self.sources: list[PairSource] = [registry().build(each) for each in config.sources]
        lengths = [len(source) for source in self.sources]
        if 0 in lengths:
            raise InputError(
                f"source.sources: source {lengths.index(0)} ({config.sources[lengths.index(0)].name}) is empty"
            )
        self.counts = counts(lengths, config.weights)
        self.ends = [*accumulate(self.counts)]

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, index: int) -> Pair:
        """Read one pair; its id begins with the number of its source."""
        number, place = self._place(index)
        try:
            pair = self.sources[number][place]
        except BadSample as error:
            raise BadSample(f"source {number}: {error}") from error
        return replace(pair, id=f"{number}/{pair.id}")

    def kin(self, index: int) -> list[int]:
        """The kin of the pair in its own source, as often as they come."""
        number, place = self._place(index)
        first, source = self.ends[number] - self.counts[number], self.sources[number]
        return [each for own in source.kin(place) for each in range(first + own, self.ends[number], len(source))]

    def name(self, index: int) -> str:
        """Number of the source, and its own name of the pair."""
        number, place = self._place(index)
        return f"{number}/{self.sources[number].name(place) or place}"

    def sizes(self) -> list[tuple[int, int]] | None:
        """Sizes of the targets where they differ; a source that has one size alone is asked for its first pair."""
        sizes = [source.sizes() for source in self.sources]
        alone = [_alone(source) if own is None else None for source, own in zip(self.sources, sizes, strict=True)]
        if all(own is None for own in sizes) and len(set(alone)) == 1:
            return None
        made: list[tuple[int, int]] = []
        for own, one, count in zip(sizes, alone, self.counts, strict=True):
            made += [one or (0, 0)] * count if own is None else [own[place % len(own)] for place in range(count)]
        return made

    def blocks(self) -> list[int] | None:
        """Blocks of the sources that have some; pairs of others lie in one."""
        found = [source.blocks() for source in self.sources]
        if all(each is None for each in found):
            return None
        return [
            block
            for own, count, source in zip(found, self.counts, self.sources, strict=True)
            for block in _repeated(list(own or [len(source)]), count)
        ]

    def fingerprint(self) -> Mapping[str, Mapping[str, str]] | None:
        """What the sources tell, with their numbers."""
        made: dict[str, Mapping[str, str]] = {}
        for number, source in enumerate(self.sources):
            own = source.fingerprint()
            if own is None:
                return None
            made |= {f"{number}/{name}": parts for name, parts in own.items()}
        return made

    def _place(self, index: int) -> tuple[int, int]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        number = bisect_right(self.ends, index)
        return number, (index - (self.ends[number - 1] if number else 0)) % len(self.sources[number])


def counts(lengths: list[int], weights: list[float] | None) -> list[int]:
    """How often each source comes in an epoch: by weight, and at least once with every pair."""
    if weights is None:
        return lengths
    epoch = max(length / weight for length, weight in zip(lengths, weights, strict=True))
    return [max(length, round(epoch * weight)) for length, weight in zip(lengths, weights, strict=True)]


def _alone(source: PairSource) -> tuple[int, int] | None:
    for index in range(len(source)):
        try:
            pair = source[index]
        except (BadSample, InputError):
            continue
        return pair.target.height, pair.target.width
    return None


def _repeated(blocks: list[int], count: int) -> list[int]:
    """Blocks over and over until they hold ``count`` pairs; the last one may be cut."""
    made, left = list[int](), count
    while left > 0:
        for block in blocks:
            made.append(min(block, left))
            left -= made[-1]
            if not left:
                break
    return made
