"""Pairs in a reproducible order, encoded once, and bad ones put aside."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dynaip.contracts import Pair, PairSource
from dynaip.errors import BadSample, DynaIPError, InputError

BLOCK = 16
"""Pairs are encoded in fixed blocks of their index: rounding then does not depend on where a run was resumed."""


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


class PairDataset(Dataset[Any]):
    """A source whose bad pairs come back as ``Bad`` rather than as an exception."""

    def __init__(self, source: PairSource) -> None:
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Pair | Bad:
        try:
            return self.source[index]
        except (BadSample, InputError) as error:
            return Bad(index, str(error))


class Quarantine:
    """Remembers bad pairs, writes them down, and stops the run when too many are bad."""

    def __init__(self, file: Path, size: int, share: float) -> None:
        self.file, self.limit, self.size = file, max(1, int(share * size)), size
        self.bad: dict[int, str] = {}
        file.unlink(missing_ok=True)

    def add(self, bad: Bad) -> None:
        """Note one; ``DynaIPError`` lists them all when they are too many."""
        if bad.index in self.bad:
            return
        self.bad[bad.index] = bad.reason
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"index": bad.index, "reason": bad.reason}) + "\n")
        if len(self.bad) > self.limit:
            listed = "; ".join(f"{index}: {reason}" for index, reason in list(self.bad.items())[:10])
            raise DynaIPError(f"{len(self.bad)} of {self.size} pairs cannot be used ({self.file}): {listed}")


@dataclass
class Encoded:
    """One pair, ready for a step."""

    id: str
    prompt: str
    latents: Tensor
    """T x C."""
    features: dict[str, Tensor]
    """Level -> N x C_l."""


@dataclass
class Batch:
    """Several pairs, stacked."""

    ids: list[str]
    prompts: list[str]
    latents: Tensor
    """B x T x C."""
    features: dict[str, Tensor]
    """Level -> B x N x C_l."""
    size: tuple[int, int]
    """Height and width of the targets in pixels."""


class PairLoader:
    """Gives the batch of any step. What is encoded once is kept in memory while ``cache`` allows it.

    ``encode`` turns pairs into ``Encoded``; workers only read pictures, so their number changes nothing but the speed.
    """

    def __init__(
        self, source: PairSource, encode: Callable[[Sequence[Pair]], list[Encoded]], *, quarantine: Quarantine,
        batch: int, seed: int, workers: int, cache: int,
    ) -> None:  # fmt: skip
        if not len(source):
            raise InputError("source: there is no pair in it")
        self.dataset = PairDataset(source)
        self.encode, self.quarantine = encode, quarantine
        self.batch, self.seed, self.workers = batch, seed, workers
        self.caching = cache >= len(source)
        self.kept: dict[int, Encoded] = {}
        self.size: tuple[int, int] | None = None

    def batches(self, start: int, steps: int, *, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        """Yield the batches of steps ``start`` to ``steps``, for one of ``world`` processes."""
        plan = [
            indices_at(step * world + rank, batch=self.batch, size=len(self.dataset), seed=self.seed)
            for step in range(start, steps)
        ]
        loaded = self._loaded(plan)
        for indices in plan:
            yield self._stacked(indices, loaded)

    def fill(self, start: int, steps: int, *, on_progress: Callable[[int, int], None] | None = None) -> None:
        """Encode ahead, in large batches, everything that the steps will ask for (if it is kept at all)."""
        if not self.caching:
            return
        blocks: dict[int, None] = {}
        for step in range(start, steps):
            indices = indices_at(step, batch=self.batch, size=len(self.dataset), seed=self.seed)
            blocks |= dict.fromkeys(index // BLOCK for index in indices)
            if len(blocks) * BLOCK >= len(self.dataset):
                break
        chunks = [self._block(number) for number in blocks]
        for number, items in enumerate(self._read(chunks)):
            self._keep(chunks[number], items)
            if on_progress:
                on_progress(number + 1, len(chunks))

    def _block(self, number: int) -> list[int]:
        return list(range(number * BLOCK, min((number + 1) * BLOCK, len(self.dataset))))

    def _loaded(self, plan: list[list[int]]) -> Iterator[list[Pair | Bad]] | None:
        return None if self.caching else self._read(plan)

    def _read(self, plan: list[list[int]]) -> Iterator[list[Pair | Bad]]:
        if not plan:
            return iter(())
        loader = DataLoader(
            self.dataset,
            batch_sampler=cast(Any, plan),
            num_workers=self.workers,
            collate_fn=list,
            timeout=60 if self.workers else 0,
            multiprocessing_context="spawn" if self.workers else None,
        )
        return iter(loader)

    def _keep(self, indices: Sequence[int], items: Sequence[Pair | Bad]) -> None:
        for item in items:
            if isinstance(item, Bad):
                self.quarantine.add(item)
        good = [(index, item) for index, item in zip(indices, items, strict=True) if isinstance(item, Pair)]
        self._note_size([item for _, item in good])
        for (index, _), encoded in zip(good, self.encode([item for _, item in good]) if good else [], strict=True):
            self.kept[index] = encoded

    def _note_size(self, pairs: Sequence[Pair]) -> None:
        for pair in pairs:
            size = (pair.target.height, pair.target.width)
            if self.size not in (None, size):
                raise InputError(f"source: pair {pair.id} is {size[1]} x {size[0]} pixels; all targets must have one size")
            self.size = size

    def _stacked(self, indices: list[int], loaded: Iterator[list[Pair | Bad]] | None) -> Batch:
        if loaded is not None:
            self.kept.clear()
            self._keep(indices, next(loaded))
        items = [self._good(index) for index in indices]
        return Batch(
            ids=[item.id for item in items],
            prompts=[item.prompt for item in items],
            latents=torch.stack([item.latents for item in items]),
            features={level: torch.stack([item.features[level] for item in items]) for level in items[0].features},
            size=cast(tuple[int, int], self.size),
        )

    def _good(self, index: int) -> Encoded:
        """The pair of an index; for a bad one the next good one after it."""
        for offset in range(len(self.dataset)):
            place = (index + offset) % len(self.dataset)
            if place not in self.kept and place not in self.quarantine.bad:
                indices = self._block(place // BLOCK) if self.caching else [place]
                self._keep(indices, [self.dataset[index] for index in indices])
            if place in self.kept:
                return self.kept[place]
        raise DynaIPError("no pair can be used")


def signed_pixels(images: Sequence[Image.Image]) -> Tensor:
    """RGB images of one size to pixels in [-1, 1], B x 3 x height x width."""
    arrays = np.stack([np.asarray(image.convert("RGB"), dtype=np.float32) for image in images])
    return torch.from_numpy(arrays / 127.5 - 1).permute(0, 3, 1, 2).contiguous()
