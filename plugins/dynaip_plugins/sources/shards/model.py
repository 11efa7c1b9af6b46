"""Pairs of tar shards: any sample is found by its number, so that what is resumed goes on in the middle of a shard."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Mapping
from fnmatch import fnmatchcase
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynaip.contracts import Pair, PairReference, PairSource
from dynaip.errors import BadSample, InputError
from dynaip.images import read_picture
from dynaip.images.buckets import Size
from dynaip.notes import tell
from dynaip_plugins.shared.filters import MISSING, Filter, value_at
from dynaip_plugins.shared.pictures import file_digest, picture_sizes
from dynaip_plugins.shared.remembered import remembered
from dynaip_plugins.shared.targets import Targets

from .config import ShardsConfig
from .copies import Copies, expanded
from .index import LARGEST, Member, ShardIndex, index_of


class ShardPairs(PairSource):
    """A pair for every sample of the shards that passes the filter."""

    def __init__(self, config: ShardsConfig) -> None:
        self.config, self.targets = config, Targets(config)
        self.filter, self.copies = Filter(config.where) if config.where else None, Copies(config.cache_gb)
        self.shards = expanded(config.shards)
        self.keys = [self._key(shard) for shard in self.shards]
        self.indices = [self._index(shard, key) for shard, key in zip(self.shards, self.keys, strict=True)]
        self.chosen = [self._chosen(number) for number in range(len(self.shards))]
        self.ends = [*accumulate(len(each) for each in self.chosen)]
        if not self.ends[-1]:
            found = sum(map(len, self.indices))
            raise InputError(
                f"source: none of {found} samples can be used" + (f": {config.where}" * bool(config.where))
            )

    def _key(self, shard: str) -> list[Any]:
        path = Path(shard)
        return [shard, path.stat().st_size, path.stat().st_mtime_ns] if path.exists() else [shard]

    def _index(self, shard: str, key: Any) -> ShardIndex:
        try:
            made = index_of(self.copies.local(shard), key)
        except BadSample as error:
            raise InputError(f"source.shards: {error}") from error
        if made.fault:
            tell(f"{shard}: {made.fault}; {len(made)} samples of it are there", kind="broken shard")
        return made

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, index: int) -> Pair:
        """Read one pair; ``BadSample`` with shard and sample if it cannot be used."""
        number, sample = self._place(index)
        try:
            return self._pair(number, sample)
        except (InputError, OSError) as error:
            raise BadSample(f"{self.name(index)}: {error}") from error

    def name(self, index: int) -> str:
        """Shard and sample."""
        number, sample = self._place(index)
        return f"{_short(self.shards[number])}/{self.indices[number].keys[sample]}"

    def blocks(self) -> list[int]:
        """Pairs of each shard."""
        return [len(each) for each in self.chosen if len(each)]

    def sizes(self) -> list[Size] | None:
        """The bucket of every target; None where all take one size."""
        if not self.targets.bucketed:
            return None
        chosen = self.targets.choose(self.picture_sizes())
        return [self.targets.sizes[number] for number in chosen]

    def picture_sizes(self) -> NDArray[np.int64]:
        """(height, width) of the targets' pictures; 0, 0 for those that cannot be read."""
        return np.concatenate([self._shard_sizes(number) for number in range(len(self.shards))])

    def fingerprint(self) -> Mapping[str, Mapping[str, str]]:
        """Digests of the local shards, and the number of samples of each that are used."""
        return {
            _short(shard): {"used": str(len(used))} | ({"content": file_digest(Path(shard))} if len(key) > 1 else {})
            for shard, key, used in zip(self.shards, self.keys, self.chosen, strict=True)
        }

    # -- which samples ---------------------------------------------------------------------------------------------------

    def _place(self, index: int) -> tuple[int, int]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        number = bisect_right(self.ends, index)
        return number, int(self.chosen[number][index - (self.ends[number - 1] if number else 0)])

    def _chosen(self, number: int) -> NDArray[np.int64]:
        if self.filter is None:
            return np.arange(len(self.indices[number]))
        key = [self.keys[number], self.config.where]
        return remembered("chosen", key, lambda: {"samples": self._filtered(number)})["samples"]

    def _filtered(self, number: int) -> NDArray[np.int64]:
        """Samples that pass the filter; what cannot be read is kept, and quarantined by name."""
        passed = list[int]()
        for sample in range(len(self.indices[number])):
            try:
                if self.filter is None or self.filter(self._json(number, sample, "json")):
                    passed.append(sample)
            except InputError:
                passed.append(sample)
        return np.array(passed, dtype=np.int64)

    # -- what a sample holds ---------------------------------------------------------------------------------------------

    def _pair(self, number: int, sample: int) -> Pair:
        index, config = self.indices[number], self.config
        members, name = index.members(sample), f"{_short(self.shards[number])}/{index.keys[sample]}"
        if index.fault and sample == len(index) - 1:
            raise InputError(f"the shard is broken there ({index.fault})")
        subject = self._text(number, sample, config.subject) if config.subject else ""
        parts = dict.fromkeys(
            part for pattern in config.references for part in sorted(members) if fnmatchcase(part, pattern)
        )
        if not parts:
            raise InputError(f"it has no part {', '.join(config.references)}; its parts: {', '.join(members)}")
        references = [
            PairReference(read_picture(self._read(number, members, part), part), subject=subject) for part in parts
        ]
        target = read_picture(self._read(number, members, config.target), config.target)
        fitted = self.targets.fitted(target, f"the target of {name}").image
        return Pair.of(name, references, fitted, self._text(number, sample, config.prompt), subject)

    def _text(self, number: int, sample: int, place: str) -> str:
        part, _, value = place.partition(".json.") if ".json." in place else place.partition("json.")
        if value:
            found = value_at(self._json(number, sample, f"{part}.json" if part else "json"), value)
        else:
            found = self._read(number, self.indices[number].members(sample), place).decode("utf-8-sig", "replace")
        if not isinstance(found, str) or not found.strip():
            raise InputError(f"{place} {'is missing' if found is MISSING else 'must be a text that is not empty'}")
        return found.strip()

    def _json(self, number: int, sample: int, part: str) -> Mapping[str, Any]:
        data = self._read(number, self.indices[number].members(sample), part)
        try:
            found = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{part} is no JSON ({error})") from error
        if not isinstance(found, dict):
            raise InputError(f"{part} is no object with named values")
        return found

    def _read(self, number: int, members: Mapping[str, Member], part: str) -> bytes:
        if part not in members:
            raise InputError(f"it has no part {part}; its parts: {', '.join(members)}")
        member = members[part]
        if member.size > LARGEST:
            raise InputError(f"{part} has {member.size / 1e6:.0f} MB, more than is read")
        with self.copies.local(self.shards[number]).open("rb") as file:
            file.seek(member.offset)
            data = file.read(member.size)
        if len(data) < member.size:
            raise InputError(f"{part} is cut off: the shard ends before it does")
        return data

    def _shard_sizes(self, number: int) -> NDArray[np.int64]:
        key = [self.keys[number], self.config.where, self.config.target]
        return remembered("sizes", key, lambda: {"sizes": self._looked_up(number)})["sizes"]

    def _looked_up(self, number: int) -> NDArray[np.int64]:
        def data(sample: int) -> bytes | None:
            try:
                return self._read(number, self.indices[number].members(sample), self.config.target)
            except (InputError, OSError):
                return None

        return picture_sizes(data(int(sample)) for sample in self.chosen[number])


def _short(shard: str) -> str:
    return shard.rpartition("/")[2]
