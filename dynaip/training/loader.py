"""Batches of pairs: read by workers, encoded once, kept in memory where they fit."""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from dynaip.contracts import Pair
from dynaip.errors import DynaIPError, InputError
from dynaip.notes import caught
from dynaip.registry import registry
from dynaip.training.data import Bad, BatchOrder, PairDataset, Quarantine
from dynaip.training.levels import unpacked
from dynaip.training.memory import machine_memory
from dynaip.training.remarks import Remarks

BLOCK = 16
"""Pairs are encoded in fixed blocks of their index: rounding then does not depend on where a run was resumed."""

EARLY = 50
"""Batches after which notes are told where pairs are encoded as they come."""

MEMORY_SHARE = 0.5
"""Share of the machine's memory that encoded pairs may take."""


GRACE = 15
"""Seconds that a loading process goes on after it was asked to stop."""


class LoaderDied(DynaIPError):
    """A process that loads pairs is gone."""


@dataclass
class Encoded:
    """One pair, ready for a step."""

    id: str
    latents: Tensor
    """T x C."""
    features: dict[str, Tensor]
    """Level -> R x N x C_l, for all R references of the pair."""
    text: dict[str, Tensor]
    """What the backbone makes of the prompt, without the batch's dimension."""
    pixels: tuple[int, int] = (0, 0)
    """Height and width of the target."""
    regions: Tensor | None = None
    """M_r of each reference on the image tokens, R x T; None if all may appear everywhere."""

    def fault(self) -> str | None:
        """What is not finite in it; None if all is."""
        parts = {"latents of its target": self.latents}
        parts |= {
            f"features of its reference at level {level}": unpacked(values) for level, values in self.features.items()
        }
        parts |= {f"encoding of its prompt ({name})": values for name, values in self.text.items()}
        bad = [part for part, values in parts.items() if not bool(values.isfinite().all())]
        if self.regions is not None and not bool(self.regions.amax(1).gt(0).all()):
            return "the region of a reference vanishes on the target's tokens: make it larger"
        return f"the {', the '.join(bad)} are not finite" if bad else None

    @property
    def references(self) -> int:
        """R, the number of references."""
        return len(next(iter(self.features.values())))

    @property
    def size(self) -> int:
        """Bytes."""
        parts = (self.latents, *self.features.values(), *self.text.values())
        return sum(part.nbytes for part in parts) + (0 if self.regions is None else self.regions.nbytes)


@dataclass
class Batch:
    """Several pairs, stacked."""

    ids: list[str]
    latents: Tensor
    """B x T x C."""
    features: dict[str, Tensor]
    """Level -> P x N x C_l: the references of all samples, one sample's after another's."""
    text: dict[str, Tensor]
    size: tuple[int, int]
    """Height and width of the targets in pixels."""
    counts: list[int]
    """References of each sample; they sum to P."""
    regions: list[Tensor | None]
    """M_r of each reference (T), None for everywhere."""


class PairLoader:
    """Gives any batch. What is encoded once is kept in memory if ``cache`` and ``memory`` allow it.

    ``encode`` turns pairs into ``Encoded``; workers only read pictures, so their number changes nothing but the speed.
    ``check`` refuses a target's size (height, width) before anything is made of it.
    ``cache`` is the largest number of pairs that are kept (all or none), ``memory`` what they may take in bytes.
    """

    def __init__(
        self, dataset: PairDataset, encode: Callable[..., list[Encoded]], *, quarantine: Quarantine,
        order: BatchOrder, workers: int = 0, cache: int = 0, memory: float | None = None,
        warn: Callable[[str], None] = print, remarks: Remarks | None = None,
        check: Callable[[str, tuple[int, int]], None] = lambda name, size: None,
    ) -> None:  # fmt: skip
        if not len(dataset):
            raise InputError("source: there is no pair in it")
        self.dataset, self.encode, self.quarantine, self.order = dataset, encode, quarantine, order
        self.workers, self.warn, self.check = workers, warn, check
        self.remarks = remarks or Remarks(warn)
        self.filling = False
        self.caching = cache >= len(dataset)
        self.memory = machine_memory() * MEMORY_SHARE / order.world if memory is None else memory
        self.kept: dict[int, Encoded] = {}
        self.size: tuple[int, int] | None = None
        self.sizes = dataset.sizes

    @property
    def complete(self) -> bool:
        """Whether everything that batches will ask for was encoded by ``fill``."""
        return self.caching

    def batches(self, start: int, end: int) -> Generator[Batch]:
        """Yield the batches with the numbers ``start`` to ``end`` (excluded)."""
        plan = [self.order.at(number) for number in range(start, end)]
        with closing(self._read([] if self.caching else plan)) as loaded:
            for number, indices in enumerate(plan):
                if number == EARLY:
                    self.remarks.tell()
                yield self._stacked(indices, None if self.caching else loaded)

    def together(self, indices: Sequence[int]) -> None:
        """Encode these pairs once for all processes, where what is encoded is kept for all; all of them call it."""

    def some(self, indices: Sequence[int]) -> Batch:
        """A batch of these pairs, out of turn; for one that cannot be used the next good one of them stands in."""
        if not self.caching:
            self.kept.clear()
        return stacked([self._good(index, indices) for index in indices])

    def fill(self, start: int, end: int, *, on_progress: Callable[[int, int], None] | None = None) -> None:
        """Encode ahead everything that these batches will ask for, if it is kept at all."""
        if not self.caching:
            return
        chunks = [self._block(number) for number in self._blocks(start, end)]
        self.filling = True
        try:
            with closing(self._read(chunks)) as loaded:
                for number, items in enumerate(loaded):
                    self._keep(chunks[number], items)
                    if not self._fits(len(chunks) * BLOCK):
                        break
                    if on_progress:
                        on_progress(number + 1, len(chunks))
        finally:
            self.filling = False
        if self.quarantine.bad:
            self.warn(self.quarantine.told())
        self.remarks.tell()

    def _blocks(self, start: int, end: int, order: BatchOrder | None = None) -> list[int]:
        """Blocks of these batches, in the order in which they are asked for."""
        blocks: dict[int, None] = {}
        for number in range(start, end):
            blocks |= dict.fromkeys(index // BLOCK for index in (order or self.order).at(number))
            if len(blocks) * BLOCK >= len(self.dataset):
                break
        return list(blocks)

    def _fits(self, pairs: int) -> bool:
        """Whether everything can be kept; if not, nothing is, and pairs are encoded whenever a batch holds them."""
        needed = pairs * max((one.size for one in self.kept.values()), default=0)
        if needed > self.memory:
            self.caching = False
            self.kept.clear()
            self.warn(
                f"features of {pairs} pairs would take {needed / 1e9:.1f} GB of memory: they are computed anew at "
                "every step (training.cache: false says so from the start)"
            )
        return self.caching

    def _block(self, number: int) -> list[int]:
        return list(range(number * BLOCK, min((number + 1) * BLOCK, len(self.dataset))))

    def _read(self, plan: Iterable[list[int]]) -> Generator[list[Pair | Bad]]:
        with deaths_told():
            yield from self._loaded(self.dataset, plan, list)

    def _loaded(self, dataset: Any, plan: Iterable[list[int]], collate: Callable[[list[Any]], Any]) -> Iterable[Any]:
        """What a dataset gives for each list of indices, brought together by ``collate``, by as many processes as are set."""
        if not plan:
            return []
        return DataLoader(
            dataset,
            batch_sampler=cast(Any, plan),
            num_workers=self.workers,
            collate_fn=collate,
            multiprocessing_context=self._start_method() if self.workers else None,
            worker_init_fn=_outlive_sigterm,
        )

    def _start_method(self) -> str:
        """A component of a notebook cell exists in this process alone, so that only a copy of the process has it."""
        spec = self.dataset.spec
        return "fork" if spec is not None and not registry().find("source", spec.use).importable else "spawn"

    def _keep(
        self, indices: Sequence[int], items: Sequence[Pair | Bad], encode: Callable[..., list[Encoded]] | None = None
    ) -> list[tuple[str, str]]:
        """Encode what can be used, keep it, and put the rest into quarantine; give what was told of it all."""
        good = {index: item for index, item in zip(indices, items, strict=True) if isinstance(item, Pair)}
        bad = [item for item in items if isinstance(item, Bad)]
        self._note_sizes(good)
        with caught() as notes:
            encoded = (encode or self.encode)(list(good.values())) if good else []
        for (index, pair), made in zip(good.items(), encoded, strict=True):
            fault = made.fault()
            if fault is None:
                self.kept[index] = made
            else:
                bad.append(Bad(index, f"{pair.id}: {fault}", self.dataset.source.name(index)))
            self.remarks.add(pair.notes)
            self.remarks.prompts[pair.prompt] = None
        self.remarks.add(notes)
        if self.quarantine.add(*bad) and not self.filling:
            self.warn(self.quarantine.told())
        return [note for pair in good.values() for note in pair.notes] + list(notes)

    def _note_sizes(self, pairs: Mapping[int, Pair]) -> None:
        for index, pair in pairs.items():
            size = (pair.target.height, pair.target.width)
            if self.size is None:
                self.check(f"source: the target of pair {pair.id}", size)
            if self.sizes is not None:
                different, numbers = self.sizes
                if (told := different[numbers[index]]) != size:
                    raise InputError(
                        f"source: the target of pair {pair.id} has {size[1]} x {size[0]} pixels, and its source told "
                        f"{told[1]} x {told[0]}: the files changed since, or sizes() is wrong"
                    )
            elif self.size not in (None, size):
                raise InputError(
                    f"source: the target of pair {pair.id} has {size[1]} x {size[0]} pixels, others have another size; "
                    "all targets must have one size"
                )
            self.size = size

    def _stacked(self, indices: list[int], loaded: Iterator[list[Pair | Bad]] | None) -> Batch:
        if loaded is not None:
            self.kept.clear()
            self._keep(indices, next(loaded))
        return stacked([self._good(index) for index in indices])

    def _fetch(self, place: int) -> None:
        """Keep the pair of a place, or put it into quarantine."""
        indices = self._block(place // BLOCK) if self.caching else [place]
        self._keep(indices, [self.dataset[index] for index in indices])

    def _good(self, index: int, among: Sequence[int] | None = None) -> Encoded:
        """The pair of an index; for a bad one the next good one after it, or (``among``) one of these."""
        for place in self.order.after(index) if among is None else (index, *among):
            if place not in self.kept and place not in self.quarantine.bad:
                self._fetch(place)
            if place in self.kept:
                return self.kept[place]
        raise InputError(f"no pair can be used: {self.quarantine.reasons()}")


@contextmanager
def deaths_told() -> Generator[None]:
    """Say in one line that a loading process died; torch raises that wherever this process happens to be."""
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        said = " ".join(str(error).split())
        raise LoaderDied(
            f"a process that loads pairs died ({said}): start again with --resume, with fewer training.workers if memory "
            "ran out"
        ) from error


def _outlive_sigterm(worker: int) -> None:
    """Schedulers ask every process of a job to stop: the training finishes its step first, and ends its workers then."""
    signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(GRACE))


def stacked(items: Sequence[Encoded]) -> Batch:
    """Bring pairs whose targets have one size together."""
    return Batch(
        ids=[item.id for item in items],
        latents=torch.stack([item.latents for item in items]),
        features={name: torch.cat([item.features[name] for item in items]) for name in items[0].features},
        text=_stack([item.text for item in items]),
        size=items[0].pixels,
        counts=[item.references for item in items],
        regions=[
            region for item in items for region in (item.references * [None] if item.regions is None else item.regions)
        ],
    )


def _stack(rows: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
