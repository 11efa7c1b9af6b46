"""Loss on pairs that are never trained on, at the same timesteps and noise each time, shared by the processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dynaip.config import ValidationConfig
from dynaip.contracts import PairSource
from dynaip.errors import InputError
from dynaip.training.data import PairDataset
from dynaip.training.loader import Batch, PairLoader
from dynaip.training.objective import Draw, mixed
from dynaip.training.order import Indices
from dynaip.training.references import Drawn

CHANCE = 0x7A11D
"""Which draw a seed is for."""

Predict = Callable[[Batch, Draw, Drawn], AbstractContextManager[tuple[Tensor, Any]]]
"""Loss of a batch (a scalar) under given chances, and what its pass made."""


@dataclass(frozen=True)
class HeldOut:
    """Pairs of a source that are put aside."""

    pairs: list[int]
    """Those that the loss is measured on."""
    kin: frozenset[int]
    """Those, and all that are made of the same pictures: none of them is trained on."""

    def groups(self, groups: Indices | None, size: int) -> Indices:
        """Numbers of the pairs' sizes as an order takes them: below 0 for those that never come."""
        marked = np.zeros(size, dtype=np.int64) if groups is None else groups.copy()
        marked[sorted(self.kin)] = -1
        return marked


def held_out(source: PairSource, count: int) -> HeldOut:
    """Put ``count`` pairs aside with their kin, evenly spread over a source; ``InputError`` if none would be left."""
    size, pairs, kin = len(source), list[int](), set[int]()
    for place in spread(size, count):
        if place not in kin:
            pairs.append(place)
            kin.update(source.kin(place))
    if len(kin) >= size:
        raise InputError(
            f"training.validation.pairs: {count} held out of {size} leave none to train on: lower it, or name a "
            "training.validation.source"
        )
    return HeldOut(pairs, frozenset(kin))


def spread(size: int, count: int) -> list[int]:
    """``count`` places (all, if there are fewer) evenly spread over ``size``."""
    return (
        sorted({(2 * number + 1) * size // (2 * count) for number in range(count)}) if count < size else [*range(size)]
    )


def batches_of(pairs: Sequence[int], dataset: PairDataset, size: int) -> list[list[int]]:
    """Batches of up to ``size`` pairs, each of one target size."""
    groups = None if dataset.sizes is None else dataset.sizes[1]
    sorted_out: dict[int, list[int]] = {}
    for index in pairs:
        sorted_out.setdefault(0 if groups is None else int(groups[index]), []).append(index)
    return [some[start : start + size] for some in sorted_out.values() for start in range(0, len(some), size)]


@dataclass
class Validation:
    """The loss on some pairs. Batches are dealt to the processes; each keeps the encodings of its own."""

    settings: ValidationConfig
    seed: int
    loader: PairLoader
    pairs: Sequence[int]
    """Their indices in the loader's source."""
    references: int
    """References of a pair that are seen at most."""
    accelerator: Any
    size: int
    """Pairs of a batch at most."""
    kept: list[tuple[int, list[int], Batch]] = field(default_factory=list[tuple[int, "list[int]", Batch]])
    """Number of each batch of this process, its pairs, and what is encoded of them."""

    def due(self, step: int, last: int) -> bool:
        """Whether the loss is measured after a step."""
        return step % self.settings.every == 0 or step == last

    def prepare(self) -> None:
        """Encode the pairs of this process."""
        batches, world = batches_of(self.pairs, self.loader.dataset, self.size), self.accelerator.num_processes
        if self.kept:
            return
        self.count = len(batches)
        self.loader.together(self.pairs)
        for turn in range(ceil(self.count / world)):
            # In the last turn some repeat the last batch: with a base in shards all processes have to run as often.
            number = turn * world + self.accelerator.process_index
            indices = batches[min(number, self.count - 1)]
            self.kept.append((number, indices, self.loader.some(indices)))

    def losses(self, predict: Predict) -> dict[str, Any]:
        """``validation_loss`` and ``validation_losses`` by timestep, of the adapter as it is. All processes call it."""
        sums = torch.zeros(self.count, len(self.settings.timesteps) + 1, device=self.accelerator.device)
        with torch.no_grad():
            for number, indices, batch in self.kept:
                measured = [self._loss(predict, indices, batch, place) for place in range(len(self.settings.timesteps))]
                if number < self.count:
                    weight = float(len(indices))
                    sums[number] = torch.stack(
                        [*(each * weight for each in measured), torch.full_like(measured[0], weight)]
                    )
        if self.accelerator.num_processes > 1:
            sums = self.accelerator.reduce(sums, "sum")  # each batch is one process's: nothing is rounded by it
        return self._told(sums.cpu().double().sum(0).tolist())

    def _told(self, sums: list[float]) -> dict[str, Any]:
        means = [each / sums[-1] for each in sums[:-1]]
        names = [f"{each:g}" for each in self.settings.timesteps]
        return {"validation_loss": sum(means) / len(means), "validation_losses": dict(zip(names, means, strict=True))}

    def _loss(self, predict: Predict, indices: Sequence[int], batch: Batch, place: int) -> Tensor:
        torch.manual_seed(mixed(self.seed, indices[0], place, CHANCE))
        with predict(batch, self._chances(indices, batch, place), first_ones(batch.counts, self.references)) as (
            loss,
            _,
        ):
            return loss.detach().float()

    def _chances(self, indices: Sequence[int], batch: Batch, place: int) -> Draw:
        """The noise of a pair is its own at each timestep, whatever batch it is in; nothing is dropped."""
        noise = [
            torch.randn(shape.shape, generator=torch.Generator().manual_seed(mixed(self.seed, index, place, CHANCE)))
            for index, shape in zip(indices, batch.latents, strict=True)
        ]
        count = len(indices)
        timesteps = torch.full((count,), self.settings.timesteps[place])
        no, yes = torch.zeros(count, dtype=torch.bool), torch.ones(count, dtype=torch.bool)
        return Draw(timesteps, torch.stack(noise), drop_prompt=no, keep_reference=yes)


def first_ones(counts: Sequence[int], most: int) -> Drawn:
    """The first references of each sample, ``most`` of them."""
    starts = [sum(counts[:row]) for row in range(len(counts))]
    taken = [(start + place, row) for row, start in enumerate(starts) for place in range(min(most, counts[row]))]
    return Drawn([place for place, _ in taken], [row for _, row in taken])
